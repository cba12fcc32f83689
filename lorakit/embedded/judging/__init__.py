"""What a LoRA does to a base, in numbers: losses and drift at fixed noise. No judgement here."""
