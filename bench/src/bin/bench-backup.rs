//! Backups of PostgreSQL beside those of `pg_basebackup`, their memory, and how soon they are proven.

use std::path::Path;

use anyhow::ensure;
use clap::Parser;
use stoker_bench::backup::{Database, Run, Work, drill, ours, pg_basebackup, ready};
use stoker_bench::data::{ensure_room, folder};
use stoker_bench::figures::{Figures, median};

/// Our level of zstd.
const ZSTD: Option<u8> = Some(3);
/// The level of gzip that it is compared with.
const GZIP: Option<u8> = Some(6);

/// Measures backups of PostgreSQL.
#[derive(Debug, Parser)]
struct Args {
    /// Bytes of the database, in MB
    #[arg(long, default_value_t = 1024)]
    mb: u16,
    /// Times that each is done
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// A small database, one round: tries it out and writes nothing
    #[arg(long)]
    quick: bool,
    #[command(subcommand)]
    work: Option<Work>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut args = Args::parse();
    if let Some(work) = args.work {
        return work.run().await;
    }
    if args.quick {
        (args.mb, args.rounds) = (128, 1);
    }
    let figures = measure(&args).await?;
    if args.quick {
        figures.print();
        return Ok(());
    }
    figures.publish("backup")
}

async fn measure(args: &Args) -> anyhow::Result<Figures> {
    let mut database = Database::create().await?;
    let fsync = database.setting("fsync").await?;
    ensure!(
        fsync == "on",
        "the server does not sync to disk: run `make bench-backup`"
    );
    let home = folder()?;
    ensure_room(home.path(), u64::from(args.mb) << 22)?;
    // A server's own user is to enter it.
    allow_all(home.path())?;
    let mut figures = Figures::default();
    let quarter = i64::from(args.mb) << 18;
    database.fill(quarter).await?;
    let small = Side::new(&database, home.path()).await?;
    figures.add("rss_peak_mb_quarter", memory(&small)?);
    database.fill(4 * quarter).await?;
    compare(
        &Side::new(&database, home.path()).await?,
        args.rounds,
        &mut figures,
    )?;
    Ok(figures)
}

/// What is backed up, and where to.
struct Side<'a> {
    url: &'a str,
    major: u32,
    home: &'a Path,
}

impl<'a> Side<'a> {
    async fn new(database: &'a Database, home: &'a Path) -> anyhow::Result<Self> {
        let version = database.setting("server_version_num").await?;
        Ok(Self {
            url: &database.url,
            major: version.parse::<u32>()? / 10_000,
            home,
        })
    }

    /// Does one, and removes what it has written.
    fn done(&self, what: impl FnOnce(&Path) -> anyhow::Result<Run>) -> anyhow::Result<Run> {
        let into = self.home.join("backup");
        ready()?;
        let run = what(&into)?;
        std::fs::remove_dir_all(&into)?;
        Ok(run)
    }
}

/// The most memory of a backup, be it compressed or not.
fn memory(side: &Side<'_>) -> anyhow::Result<f64> {
    let raw = side.done(|into| ours(side.url, into, None))?;
    let zstd = side.done(|into| ours(side.url, into, ZSTD))?;
    Ok(raw.rss_peak_mb.max(zstd.rss_peak_mb))
}

/// What was measured of each, round by round.
#[derive(Default)]
struct Runs {
    raw: Vec<Run>,
    pg_basebackup: Vec<Run>,
    zstd: Vec<Run>,
    gzip: Vec<Run>,
    drill: Vec<Run>,
}

/// What is compared takes turns, and who comes first does too.
fn compare(side: &Side<'_>, rounds: usize, figures: &mut Figures) -> anyhow::Result<()> {
    let theirs = |gzip| side.done(|into| pg_basebackup(side.url, side.major, into, gzip));
    let mut runs = Runs::default();
    for round in 0..rounds {
        for turn in [round, round + 1] {
            if turn % 2 == 0 {
                runs.raw.push(side.done(|into| ours(side.url, into, None))?);
            } else {
                runs.pg_basebackup.push(theirs(None)?);
            }
        }
        runs.gzip.push(theirs(GZIP)?);
        runs.zstd.push(side.done(|into| {
            let backup = ours(side.url, into, ZSTD)?;
            ready()?;
            runs.drill.push(drill(into, &side.home.join("drill"))?);
            Ok(backup)
        })?);
    }
    runs.tell();
    runs.figures(figures)
}

impl Runs {
    fn figures(&self, figures: &mut Figures) -> anyhow::Result<()> {
        let gigabytes = to_gb(self.raw[0].bytes)?;
        let rate = |runs: &[Run]| 1000.0 * gigabytes / seconds(runs);
        let peak = |runs: &[Run]| runs.iter().map(|run| run.rss_peak_mb).fold(0.0, f64::max);
        let of_raw = 100.0 * rate(&self.raw) / rate(&self.pg_basebackup);
        let stored = 100.0 * to_gb(self.zstd[0].bytes)? / to_gb(self.gzip[0].bytes)?;
        figures.add("raw_gb", gigabytes);
        figures.add("pg_raw_mb_per_s", rate(&self.raw));
        figures.add("pg_raw_pct_of_pg_basebackup", of_raw);
        figures.add("pg_zstd_mb_per_s", rate(&self.zstd));
        figures.add("pg_zstd_times_gzip6", rate(&self.zstd) / rate(&self.gzip));
        figures.add("pg_zstd_pct_of_gzip6_bytes", stored);
        figures.add("rss_peak_mb", peak(&self.raw).max(peak(&self.zstd)));
        figures.add("drill_rss_peak_mb", peak(&self.drill));
        figures.add("drill_s_per_gb", seconds(&self.drill) / gigabytes);
        Ok(())
    }

    #[expect(clippy::print_stdout, reason = "the benchmark's result")]
    fn tell(&self) {
        for (name, runs) in [
            ("raw", &self.raw),
            ("pg_basebackup", &self.pg_basebackup),
            ("zstd", &self.zstd),
            ("gzip", &self.gzip),
            ("drill", &self.drill),
        ] {
            let runs: Vec<_> = runs
                .iter()
                .map(|run| format!("{:>8.2}", run.seconds))
                .collect();
            println!("{name:<16}{} s", runs.concat());
        }
    }
}

fn seconds(runs: &[Run]) -> f64 {
    median(runs.iter().map(|run| run.seconds).collect())
}

fn allow_all(folder: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    Ok(std::fs::set_permissions(
        folder,
        std::fs::Permissions::from_mode(0o755),
    )?)
}

/// In units of 10^9 bytes.
fn to_gb(bytes: u64) -> anyhow::Result<f64> {
    Ok(f64::from(u32::try_from(bytes >> 10)?) * 1024.0 / 1e9)
}
