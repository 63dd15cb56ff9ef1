//! `--chaos`: the network between the program and its Redis server breaks in several ways while the load runs.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use faulty_proxy::{Corrupt, Proxy};

/// One kind of trouble, and when: shares of the whole run.
pub(crate) struct Trouble {
    /// How it is drawn.
    pub(crate) mark: char,
    pub(crate) name: &'static str,
    pub(crate) from: f64,
    pub(crate) to: f64,
    begin: fn(&Proxy),
}

/// What happens, in order. In between the network is sound.
pub(crate) const TROUBLES: [Trouble; 5] = [
    Trouble { mark: 's', name: "answers take 20 ms more", from: 0.08, to: 0.18, begin: slow },
    Trouble {
        mark: 'r',
        name: "all connections are reset, every 200 ms",
        from: 0.27,
        to: 0.36,
        begin: Proxy::reset_all,
    },
    Trouble {
        mark: 'h',
        name: "half open: the server is there, and never answers",
        from: 0.45,
        to: 0.55,
        begin: Proxy::half_open,
    },
    Trouble { mark: 'x', name: "nobody listens on the port", from: 0.64, to: 0.73, begin: refuse },
    Trouble { mark: 'n', name: "answers are nonsense", from: 0.82, to: 0.90, begin: nonsense },
];

fn slow(proxy: &Proxy) {
    proxy.delay(Duration::from_millis(20));
}

fn refuse(proxy: &Proxy) {
    proxy.refuse();
    proxy.reset_all();
}

fn nonsense(proxy: &Proxy) {
    proxy.corrupt(Corrupt::Nonsense, u64::MAX);
}

/// The faulty network, and where the cache finds the server behind it.
pub(crate) struct Chaos {
    proxy: Proxy,
    /// The user's URL, through the proxy.
    pub(crate) url: String,
}

impl Chaos {
    /// Puts a proxy before the server of a URL.
    pub(crate) async fn before(url: &str) -> Result<Self, Box<dyn Error>> {
        let needs = "`--chaos` needs the URL of one server without TLS: `--url redis://localhost:6379`, or with `hybrid+` in front";
        let (scheme, rest) = url.split_once("://").ok_or(needs)?;
        if !matches!(scheme.strip_prefix("hybrid+").unwrap_or(scheme), "redis" | "valkey") || rest.contains(',') {
            return Err(needs.into());
        }
        let (login, rest) = rest.rsplit_once('@').map_or(("", rest), |(login, rest)| (login, rest));
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let place = if host.contains(':') { host.to_owned() } else { format!("{host}:6379") };
        let server = tokio::net::lookup_host(&place).await.ok().and_then(|mut found| found.next());
        let server: SocketAddr = server.ok_or_else(|| format!("the host of `--url` is not known: {place}"))?;
        if tokio::net::TcpStream::connect(server).await.is_err() {
            return Err(format!("no server answers at {place}, and chaos needs one to be kept from").into());
        }
        let proxy = Proxy::start(server);
        let login = if login.is_empty() { String::new() } else { format!("{login}@") };
        let url = format!("{scheme}://{login}{}/{path}", proxy.addr());
        Ok(Self { proxy, url })
    }

    /// Makes all troubles, one after the other, within `time`.
    pub(crate) async fn reign(&self, time: Duration) {
        let mut now = 0.0;
        for trouble in &TROUBLES {
            tokio::time::sleep(time.mul_f64(trouble.from - now)).await;
            let lasts = time.mul_f64(trouble.to - trouble.from);
            (trouble.begin)(&self.proxy);
            let again = Duration::from_millis(200);
            let resets = async {
                loop {
                    tokio::time::sleep(again).await;
                    if trouble.mark == 'r' {
                        self.proxy.reset_all();
                    }
                }
            };
            let _ = tokio::time::timeout(lasts, resets).await;
            self.proxy.heal();
            now = trouble.to;
        }
    }
}
