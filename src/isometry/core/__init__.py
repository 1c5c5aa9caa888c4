"""Ground that every folder stands on; knows no models."""
