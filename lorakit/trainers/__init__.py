"""Who runs the plan. Two trainers, one contract: the same TOML in, the same LoRA out."""
