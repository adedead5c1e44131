//! The native compute driver: namespaces on the host's own kernel, rootless or as root.
