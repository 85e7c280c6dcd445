"""Fine-tuning: MobileNetV2 from low-level ops, with pretrained weights and a new head."""
