"""What starts the run: the resolved YAML, its command and variables, TensorBoard. No judgement of values or rows."""
