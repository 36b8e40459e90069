//! What the drop-ins for Java tools share: the command line, properties of JDBC, and logs.

pub(crate) mod jdbc;
pub(crate) mod jvm;
pub(crate) mod logging;
pub(crate) mod notes;
pub(crate) mod options;
mod rotating;
