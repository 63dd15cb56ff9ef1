//! What a test asks of a server, and the configuration file this becomes.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::certificate::Certificates;
use super::client::{ADMIN, admin_password};

/// How a [`Server`](super::Server) is to be. Nothing is saved and nobody needs a password unless asked for.
#[derive(Clone, Default)]
pub struct Options {
    pub(super) password: Option<String>,
    pub(super) unix: bool,
    pub(super) tls: Option<Arc<Certificates>>,
    client_certificate: bool,
    lines: Vec<String>,
    pub(super) kind: Kind,
}

/// What the process is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) enum Kind {
    #[default]
    Server,
    ClusterNode,
    Sentinel,
}

impl Options {
    /// The default user needs this password. Replicas and the other nodes of a cluster know it.
    #[must_use]
    pub fn password(mut self, password: &str) -> Self {
        self.password = Some(password.to_owned());
        let line = format!("requirepass {0}\nmasterauth {0}", quoted(password));
        self.config(&line)
    }

    /// An ACL user, as behind `ACL SETUSER`: `alice on >wonder ~app:* &app:* +get`, or `default off`.
    #[must_use]
    pub fn user(self, rules: &str) -> Self {
        self.config(&format!("user {rules}"))
    }

    /// How much it holds (`2mb`; the program alone takes about one), and what becomes of the rest (`allkeys-lru`, `noeviction`).
    #[must_use]
    pub fn maxmemory(self, bytes: &str, policy: &str) -> Self {
        self.config(&format!("maxmemory {bytes}\nmaxmemory-policy {policy}"))
    }

    /// It listens on no port: the URL is that of its socket.
    #[must_use]
    pub fn unix(mut self) -> Self {
        self.unix = true;
        self
    }

    /// Its port speaks TLS only. The certificates are made here: servers started from clones of these options share them.
    #[must_use]
    pub fn tls(mut self) -> Self {
        self.tls = Some(Arc::new(Certificates::make()));
        self
    }

    /// As [`tls`](Self::tls), and clients must show a certificate of the same authority.
    #[must_use]
    pub fn tls_client_certificate(mut self) -> Self {
        self.client_certificate = true;
        self.tls()
    }

    /// Lines for the configuration file, such as `save 1 1` or `enable-debug-command yes`.
    #[must_use]
    pub fn config(mut self, line: &str) -> Self {
        self.lines.push(line.to_owned());
        self
    }

    pub(super) fn kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// The configuration file. It lies in the folder, and the server may rewrite it.
    pub(super) fn file(&self, folder: &Path, port: u16, bus: Option<u16>) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: &str| text.extend([name, " ", value, "\n"]);
        let path = |path: &Path| quoted(&path.to_string_lossy());

        line("bind", "127.0.0.1");
        line("protected-mode", "no");
        line("port", &if self.unix || self.tls.is_some() { 0 } else { port }.to_string());
        line("dir", &path(folder));
        line("unixsocket", &path(&socket(folder)));
        line("unixsocketperm", "700");
        line("user", &format!("{ADMIN} on >{} ~* &* +@all", admin_password()));
        if let Some(tls) = &self.tls {
            line("tls-port", &port.to_string());
            line("tls-ca-cert-file", &path(&tls.path("ca.crt")));
            line("tls-cert-file", &path(&tls.path("server.crt")));
            line("tls-key-file", &path(&tls.path("server.key")));
            line("tls-auth-clients", if self.client_certificate { "yes" } else { "optional" });
            line("tls-replication", "yes");
        }
        if self.kind != Kind::Sentinel {
            line("save", "\"\"");
            line("repl-diskless-sync-delay", "0");
        }
        if let Some(bus) = bus {
            line("cluster-enabled", "yes");
            line("cluster-config-file", "nodes.conf");
            line("cluster-port", &bus.to_string());
            line("cluster-node-timeout", "2000");
            line("tls-cluster", if self.tls.is_some() { "yes" } else { "no" });
        }
        for more in &self.lines {
            line(more, "");
        }
        text
    }
}

/// Passwords, users and certificates stay out.
impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("kind", &self.kind)
            .field("unix", &self.unix)
            .field("tls", &self.tls.is_some())
            .finish_non_exhaustive()
    }
}

/// The socket in a server's folder. A name this short, since the path of a socket has at most 103 bytes on some systems.
pub(super) fn socket(folder: &Path) -> std::path::PathBuf {
    folder.join("s")
}

/// As the configuration file reads it back.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
