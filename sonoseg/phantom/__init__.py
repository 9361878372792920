"""Physics-based synthetic ultrasound: sample data with known truth that can be shipped and shared."""
