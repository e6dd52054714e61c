"""Where a network looks and what it computes: Grad-CAM, SHAP, its own maps, and whether such maps can be believed."""
