//! The other side of a benchmark, in a process of its own.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;
use stoker_bench::{bare, sink};

/// Takes everything, sends what is ready, or loads with the least effort.
#[derive(Debug, Parser)]
enum Args {
    /// Takes Bundles and says of every entry that it is updated; prints its base URL
    Serve {
        /// Where to listen
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: SocketAddr,
    },
    /// Sends Bundles made of the first lines of a file; prints the resources a second
    Send {
        /// NDJSON
        file: PathBuf,
        /// Base URL
        #[arg(long)]
        to: String,
        /// How many Bundles
        #[arg(long)]
        batches: usize,
        /// Resources to a Bundle
        #[arg(long, default_value_t = 100)]
        batch: usize,
        /// Bundles under way at a time
        #[arg(long, default_value_t = 8)]
        connections: usize,
    },
    /// Loads a file and does no more than must be done; prints the resources a second
    Load {
        /// NDJSON
        file: PathBuf,
        /// Base URL
        #[arg(long)]
        to: String,
        /// Resources to a Bundle
        #[arg(long, default_value_t = 100)]
        batch: usize,
        /// Bundles under way at a time
        #[arg(long, default_value_t = 8)]
        connections: usize,
    },
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "read by the benchmark")]
async fn main() -> anyhow::Result<()> {
    match Args::parse() {
        Args::Serve { listen } => sink::serve(listen, |base| println!("{base}")).await,
        Args::Send {
            file,
            to,
            batches,
            batch,
            connections,
        } => {
            let rate = bare::send(&file, &to, batch, batches, connections).await?;
            println!("{rate}");
            Ok(())
        }
        Args::Load {
            file,
            to,
            batch,
            connections,
        } => {
            println!("{}", bare::load(&file, &to, batch, connections).await?);
            Ok(())
        }
    }
}
