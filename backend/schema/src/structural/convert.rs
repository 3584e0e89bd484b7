//! From a CRD's `openAPIV3Schema` to a [`Schema`].
