"""Generated from proto/constellation/v1/binding.proto."""
