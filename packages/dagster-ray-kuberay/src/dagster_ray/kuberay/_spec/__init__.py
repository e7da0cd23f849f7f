"""From a configuration to the object that is sent."""
