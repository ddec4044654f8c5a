"""The stack in containers: `compose.yaml`, driven through the docker command line."""
