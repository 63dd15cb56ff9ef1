//! Which server is the primary: the sentinels are asked each time a connection is needed. What they say is checked by
//! asking the server itself (see `keeper`): a sentinel may be behind.

use std::fmt;

use futures_util::future::select_ok;
use parking_lot::Mutex;
use redis::{Value, cmd};

use super::dial::{Dial, Login, Place};
use super::fault;
use super::info::text;
use crate::error::{Error, ErrorKind};
use crate::server::Endpoint;

/// Sentinels, and the name under which they know a primary.
#[derive(Debug)]
pub(super) struct Sentinel {
    pub(super) sentinels: Vec<Place>,
    pub(super) master: String,
}

impl fmt::Display for Sentinel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the primary that the sentinels know")
    }
}

impl Sentinel {
    /// Where the primary is: the first answer counts.
    pub(super) async fn primary(&self, dial: &Dial) -> Result<Place, Error> {
        let failures = Mutex::new(Vec::new());
        let asked = self.sentinels.iter().map(|sentinel| {
            let failures = &failures;
            Box::pin(async move {
                let answer = self.ask(sentinel, dial).await;
                answer.map_err(|error| failures.lock().push(error))
            })
        });
        if let Ok((place, _)) = select_ok(asked).await {
            return Ok(place);
        }
        Err(fault::most_telling(failures.into_inner()).unwrap_or_else(|| fault::late(self)))
    }

    async fn ask(&self, sentinel: &Place, dial: &Dial) -> Result<Place, Error> {
        let answer = match self.ask_as(sentinel, dial, Login::Nobody).await {
            Err(error) if error.kind() == ErrorKind::Denied && dial.password.is_some() => {
                self.ask_as(sentinel, dial, Login::User).await
            }
            answer => answer,
        }?;
        let place = match &answer {
            Value::Array(parts) => match parts.iter().map(text).collect::<Option<Vec<_>>>().as_deref() {
                Some([host, port]) => port.parse().ok().map(|port| Endpoint { host: (*host).to_owned(), port }),
                _ => None,
            },
            Value::Nil => {
                let what = format!("the sentinel {sentinel} knows no master of the name in the URL");
                return Err(Error::new(ErrorKind::Config, what));
            }
            _ => None,
        };
        place.map(Place::Tcp).ok_or_else(|| fault::nonsense(sentinel))
    }

    async fn ask_as(&self, sentinel: &Place, dial: &Dial, login: Login) -> Result<Value, Error> {
        let mut question = cmd("SENTINEL");
        question.arg("GET-MASTER-ADDR-BY-NAME").arg(&self.master);
        match dial.ask_once(sentinel, login, &question).await? {
            Value::ServerError(error) => Err(fault::refused(sentinel, &error).into_error(sentinel)),
            answer => Ok(answer),
        }
    }
}
