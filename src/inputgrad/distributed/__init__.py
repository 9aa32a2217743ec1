"""Models that several processes train together: replicated (DDP), sharded (FSDP), or split (tensor parallelism). Must not know engines and terms."""
