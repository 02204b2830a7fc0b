"""The sandbox's services: classifiers behind OpenAI's moderation protocol and Ollama's chat protocol, on 127.0.0.1."""
