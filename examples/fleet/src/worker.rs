//! What one process does: it is told on standard input, and answers with numbers on standard output.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use cache_runtime::Cache;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::task::JoinSet;

use crate::Options;
use crate::db::{Db, DbError, PRICES};
use crate::prices::{price, raise, report};

pub(crate) async fn run(options: &Options, file: &Path) -> Result<(), Box<dyn Error>> {
    let cache = Cache::builder().url(&options.url).prefix("fleet").version(&options.version).build().await?;
    if let Err(error) = cache.ping().await {
        eprintln!("no server answers there, so nothing is shared and every call goes to the database: {error}");
    }
    cache_runtime::init(cache.clone())?;
    let db = Db::of(file);
    println!("0");
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        match line.as_str() {
            "cold" => println!("{}", cold(&db, options.tasks).await?),
            _ => trade(&db, options).await?,
        }
    }
    cache.close().await?;
    Ok(())
}

/// Everybody asks for the same key. Returns how often the function ran in this process.
async fn cold(db: &Db, tasks: u64) -> Result<u64, Box<dyn Error>> {
    let mut all = JoinSet::new();
    for _ in 0..tasks {
        let db = db.clone();
        all.spawn(async move { report(&db).await });
    }
    while let Some(done) = all.join_next().await {
        done??;
    }
    Ok(report::stats().loads)
}

/// Reads and writes; answers reads, hits, writes and stale reads.
async fn trade(db: &Db, options: &Options) -> Result<(), Box<dyn Error>> {
    let time = Duration::from_secs(options.seconds);
    let before = price::stats().hits;
    let mut all = JoinSet::new();
    for _ in 0..options.tasks {
        let db = db.clone();
        all.spawn(async move {
            let mut counts = [0_u64; 3];
            let work = async {
                loop {
                    step(&db, &mut counts).await?;
                }
            };
            match tokio::time::timeout(time, work).await {
                Ok(Err(error)) => Err::<_, DbError>(error),
                Ok(Ok(())) | Err(_) => Ok(counts),
            }
        });
    }
    let mut sums = [0_u64; 3];
    while let Some(done) = all.join_next().await {
        let counts = done??;
        sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
    }
    let [reads, writes, stale] = sums;
    println!("{reads} {} {writes} {stale}", price::stats().hits - before);
    Ok(())
}

async fn step(db: &Db, [reads, writes, stale]: &mut [u64; 3]) -> Result<(), DbError> {
    let id = fastrand::u64(..PRICES);
    if fastrand::u8(..) < 8 {
        match raise(db, id, 1).await {
            Ok(version) => db.returned(id, version).await?,
            // Nothing was promised.
            Err(DbError::Cache(_)) => {}
            Err(error) => return Err(error),
        }
        *writes += 1;
        return Ok(());
    }
    // Whatever had returned before this read begins must be seen by it.
    let floor = db.floor(id).await?;
    let seen = price(db, id).await?;
    *reads += 1;
    *stale += u64::from(seen.version < floor);
    Ok(())
}
