"""Landmark alignment: faces found with MediaPipe, brought upright onto one template by a similarity transform."""
