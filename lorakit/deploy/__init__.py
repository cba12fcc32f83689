"""Put a LoRA where another program looks, with what that program shows beside it."""
