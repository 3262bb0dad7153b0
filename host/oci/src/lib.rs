//! Pulls components from OCI registries, by their digest, and keeps them.
