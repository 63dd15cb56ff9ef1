//! The process that `process::Worker` starts: commands by name. The protocol is in `process::serve`; what calls annotated
//! functions is in `call`.

mod call;

use cache_tests::process::{Worker, serve};
use cache_tests::redis::Server;
use serde_json::{Value, json};

/// What lives as long as the process.
#[derive(Default)]
struct Held {
    servers: Vec<Server>,
    workers: Vec<Worker>,
    cache: Option<call::Held>,
}

#[tokio::main]
async fn main() {
    let mut held = Held::default();
    serve(async |name: &str, with: Value| run(&mut held, name, with).await).await;
}

async fn run(held: &mut Held, name: &str, with: Value) -> Result<Value, String> {
    match name {
        "ping" => Ok(json!("pong")),
        "echo" => Ok(with),
        // What a test process starts must not outlive it: this is one that a test can kill.
        "start server" => {
            let server = Server::start().await;
            let answer = json!({ "pid": server.pid(), "folder": server.folder() });
            held.servers.push(server);
            Ok(answer)
        }
        "start worker" => {
            let program = std::env::current_exe().map_err(|error| error.to_string())?;
            let worker = Worker::start(program).await;
            let answer = json!({ "pid": worker.pid() });
            held.workers.push(worker);
            Ok(answer)
        }
        "open" => {
            held.cache = Some(call::open(&with).await?);
            Ok(Value::Null)
        }
        "call" | "write" => {
            let cache = held.cache.as_ref().ok_or("no cache was opened")?;
            if name == "call" { call::call(cache, &with).await } else { call::write(cache, &with).await }
        }
        "stop all" => {
            held.servers.iter().for_each(Server::stop_signal);
            held.workers.iter_mut().for_each(Worker::stop_signal);
            Ok(Value::Null)
        }
        _ => Err(format!("unknown command `{name}`")),
    }
}
