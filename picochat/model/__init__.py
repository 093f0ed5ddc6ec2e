"""What a GPT is: configuration, layers, cache and initialisation."""
