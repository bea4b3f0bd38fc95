"""Models without Keras: their configs, files and names. The bundled model files are here, too."""
