//! What a reindexing comes to, whatever happens on the way: the driver as a service, a server with synthetic
//! resources and faults to order.

mod defects;
mod drivers;
mod faults;
mod kills;
mod scene;
