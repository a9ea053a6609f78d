"""Export of a finished run as an MLflow model and an ONNX graph, and scoring with them. Only imported by cli/."""
