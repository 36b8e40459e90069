//! What the entries of a Bundle have to do with each other.
//!
//! Texts are scanned as they are, without building trees: what looks like a reference and is none can only keep
//! entries together that could be apart.

mod groups;
mod references;
mod refusals;

pub(crate) use groups::groups;
pub(crate) use references::has_conditional_reference;
pub(crate) use refusals::misses_a_reference;
