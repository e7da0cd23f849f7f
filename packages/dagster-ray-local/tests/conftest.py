import os

# A local ray.init turns token authentication on for its process and writes a token into the home folder.
os.environ["RAY_AUTH_MODE"] = "disabled"
