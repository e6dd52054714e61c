"""Procedurally drawn faces: parameters in the terms of the Facial Action Coding System, and how they become pixels."""
