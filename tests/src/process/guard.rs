//! A child process that cannot outlive the test process, however that ends. What runs in it is not known here.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid};

/// Forks a watchdog, then becomes the program. The watchdog reads a pipe that only the test process can write to: when that
/// process is gone, by `SIGKILL` too, the read ends. `kill -9 0` means the own process group: no pid that could have been
/// given to somebody else meanwhile. `HUP` is what the system sends to a group that was stopped when its parent died.
///
/// `setpriv --pdeathsig` would not do: it fires when the *thread* that started the child ends, and each test has its own.
const SCRIPT: &str = r#"
folder=$1; shift
exec 3<&0 </dev/null
(trap '' HUP INT TERM; read -r _ <&3; rm -rf -- "$folder"; kill -9 0) &
exec 3<&-
exec "$@"
"#;

/// A child in a process group of its own. The whole group is killed and the child awaited when this is dropped; when the
/// test process dies without dropping it, a watchdog in the group does so and removes the child's folder.
#[derive(Debug)]
pub struct Guard {
    /// Its `stdin` is the pipe of the watchdog.
    child: Child,
}

impl Guard {
    /// Starts `program`, which may be a path, with both outputs going to `output`.
    ///
    /// `folder` is the child's own: it is removed if the test process dies. Dropping the guard leaves it alone.
    ///
    /// # Errors
    ///
    /// There is no `sh`. That `program` is missing shows in `output`, and as an exit with status 127.
    pub fn spawn(
        program: &Path,
        args: impl IntoIterator<Item = impl AsRef<OsStr>>,
        folder: &Path,
        output: File,
    ) -> io::Result<Self> {
        let child = Command::new("sh")
            .args(["-c", SCRIPT, "sh"])
            .arg(folder)
            .arg(program)
            .args(args)
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stderr(output.try_clone()?)
            .stdout(output)
            .process_group(0)
            .spawn()?;
        Ok(Self { child })
    }

    /// The child's process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether the child has not ended. Does not await it, so that its pid stays its own.
    #[must_use]
    pub fn is_running(&self) -> bool {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        matches!(waitid(WaitId::Pid(self.id()), look), Ok(None))
    }

    /// `SIGSTOP`: it keeps its connections and answers nothing. Returns when it has stopped.
    pub fn stop_signal(&self) {
        stop(self.id());
    }

    /// `SIGCONT`.
    pub fn cont_signal(&self) {
        kill_process(self.id(), Signal::CONT).expect("the child can be continued");
    }

    fn id(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

/// Stops a child and waits until all of its threads have stopped. Only then is it continued and hung up if we die.
pub(super) fn stop(child: Pid) {
    kill_process(child, Signal::STOP).expect("a child can be stopped");
    let stopped = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    waitid(WaitId::Pid(child), stopped).expect("a child can be awaited");
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Child, watchdog, and what the child forked (a snapshot being saved). Not awaited yet, so the group is ours.
        let _ = kill_process_group(self.id(), Signal::KILL);
        let _ = self.child.wait();
    }
}
