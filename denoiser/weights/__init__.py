"""What a model is and where it lies, without Keras; the bundled model files lie here too."""
