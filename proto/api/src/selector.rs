//! filled by the owner of proto/api
