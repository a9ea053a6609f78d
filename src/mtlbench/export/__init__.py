"""A finished run as an MLflow model and an ONNX graph, and scoring with them. Used by cli/ alone."""
