//! What is delivered, on a real Docker engine: the image, the stack of `compose/`.

mod image;
mod packing;
mod stack;
mod stack_peers;
mod stack_seeds;
mod stack_user;
mod swarm;
