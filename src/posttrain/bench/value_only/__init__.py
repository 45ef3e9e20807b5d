"""Value-only tuning: in closed form, in a linear model that is trained, and in a small softmax transformer."""
