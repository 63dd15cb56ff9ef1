//! A process of the history checker: reads and writes rows by annotated functions, as it is told or at random, and writes
//! down what it did. The functions are in `function`, how they are called in `work`.

mod function;
mod work;

use std::sync::Arc;

use cache_tests::process::serve;
use serde_json::{Value, json};

use work::World;

#[tokio::main(flavor = "multi_thread", worker_threads = 4)]
async fn main() {
    let mut world: Option<Arc<World>> = None;
    serve(async |name: &str, with: Value| match (name, &world) {
        ("ping", _) => Ok(json!("pong")),
        ("open", _) => {
            world = Some(World::open(&with).await?);
            Ok(Value::Null)
        }
        (_, Some(world)) => world.command(name, &with).await,
        (_, None) => Err("nothing is open".to_owned()),
    })
    .await;
}
