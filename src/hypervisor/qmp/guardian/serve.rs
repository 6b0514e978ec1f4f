//! The guardian's own side: waits for the controller's end, and acts if it must.

use std::io::{BufRead, BufReader, Read, Write};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::time::{sleep, timeout};

use super::super::client::{Client, QmpError};
use super::super::endpoint::Endpoint;
use super::super::former::{Former, give_back};
use super::{DONE, DUTY_LIMIT, Duty, End, READY, Sight, Verdict, verdict};

/// How long the unclear (one end out of reach, or a guest that seems to run) must last before it
/// is believed: a monitor still held by a dying process, or a `stop` still on its way.
const BELIEF: Duration = Duration::from_secs(2);
/// The same for both ends having ended.
const GONE_BELIEF: Duration = Duration::from_millis(200);
/// The same for one end out of sight while the other waits for it.
const LOST_BELIEF: Duration = Duration::from_secs(600);
/// The longest a guardian stays at its post.
const WATCH: Duration = Duration::from_secs(24 * 3600);
const LOOK: Duration = Duration::from_millis(20);
/// Between two looks at a migration that has only to end.
const SLOW_LOOK: Duration = Duration::from_millis(200);
/// How long a monitor may take to greet.
const GREETING: Duration = Duration::from_secs(2);
/// How long a QEMU may take to answer a look; one that hands over the last of the memory takes a while.
const ANSWER: Duration = Duration::from_secs(30);
/// How long one that is out of reach is tried to be given its former settings.
const PUT_BACK_WITHIN: Duration = Duration::from_secs(600);

/// The guardian's whole life; the body of `blackout internal-guardian`. Says on standard output
/// that it is ready, reads its duty on standard input, and acts if it must. `pids` are the processes
/// of source and destination, as far as they run on this machine. `say` hears what is done and why.
///
/// # Errors
/// When no runtime can be made.
pub fn serve(
    source: &Endpoint,
    destination: &Endpoint,
    pids: [Option<u32>; 2],
    say: &mut (dyn FnMut(String) + Send),
) -> std::io::Result<()> {
    // A session of its own, so that neither Ctrl-C nor a closing terminal takes it along with the
    // controller. Fails only for a group leader, which has one already.
    let _ = nix::unistd::setsid();
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(&[READY]).and_then(|()| out.flush());
    drop(out);
    let posts = [Post::new(source, pids[0]), Post::new(destination, pids[1])];
    let Some(duty) = read_duty(std::io::stdin().lock()) else { return Ok(()) };
    say("the controller is gone and has left something to be done".into());
    // On a thread of its own: whoever calls may be inside a runtime already, and a second one there
    // would be a panic in the one process that must not have any.
    std::thread::scope(|scope| {
        let work = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(act(posts, &duty, say));
            Ok(())
        });
        work.join().unwrap_or_else(|_| Err(std::io::Error::other("the guardian's thread ended in a panic")))
    })
}

/// What is owed when the pipe ends; None if nothing is.
fn read_duty(pipe: impl Read) -> Option<Duty> {
    let mut duty = Duty::default();
    let mut pipe = BufReader::new(pipe);
    loop {
        let mut line = Vec::new();
        match pipe.by_ref().take(DUTY_LIMIT as u64).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        let text = String::from_utf8_lossy(&line);
        if text.trim() == DONE {
            return None;
        }
        // Half a line: the controller died while writing it, before the command it announces.
        if let Ok(newer) = serde_json::from_str(&text) {
            duty = newer;
        }
    }
    (!duty.is_nothing()).then_some(duty)
}

/// When a process was started, in clock ticks since boot: tells it from a later one with its number.
fn started(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the command in brackets and may hold anything; the 22nd is the start.
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// A monitor that is connected to as often as needed.
struct Post<'a> {
    endpoint: &'a Endpoint,
    /// Its process and when that was started.
    process: Option<(u32, u64)>,
    client: Option<Client>,
}

impl<'a> Post<'a> {
    fn new(endpoint: &'a Endpoint, pid: Option<u32>) -> Self {
        let process = pid.and_then(|pid| Some((pid, started(pid)?)));
        Self { endpoint, process, client: None }
    }

    /// Whether its process is known to have ended. Without its number, a UNIX socket that refuses
    /// connections, or is not there any more, is one that no process can be reached on.
    fn has_ended(&self, refused: bool) -> bool {
        match self.process {
            Some((pid, begun)) => started(pid) != Some(begun),
            None => refused && matches!(self.endpoint, Endpoint::Unix(_)),
        }
    }

    async fn connect(&mut self) -> Result<(), QmpError> {
        if self.client.is_none() {
            let (c, _, _) = Client::connect(self.endpoint, GREETING, false).await?;
            self.client = Some(c);
        }
        Ok(())
    }

    async fn look(&mut self) -> Result<End, QmpError> {
        self.connect().await?;
        let Some(client) = &self.client else { return Ok(End::default()) };
        let guest = client.execute_within("query-status", Value::Null, ANSWER).await?;
        let migration = client.execute_within("query-migrate", Value::Null, ANSWER).await?;
        let word = |v: &Value| v["status"].as_str().unwrap_or_default().to_owned();
        Ok(End { guest: word(&guest), migration: word(&migration) })
    }

    async fn see(&mut self) -> Sight {
        match self.look().await {
            Ok(end) => Sight::Seen(end),
            Err(e) => {
                self.client = None;
                let refused = matches!(&e, QmpError::NoSocket { refused: true, .. });
                if self.has_ended(refused) { Sight::Ended } else { Sight::Unknown }
            }
        }
    }

    async fn resume(&self) -> Result<(), QmpError> {
        match &self.client {
            Some(c) => c.execute("cont", Value::Null).await.map(drop),
            None => Ok(()),
        }
    }
}

async fn act(posts: [Post<'_>; 2], duty: &Duty, say: &mut (dyn FnMut(String) + Send)) {
    let [mut s, mut d] = posts;
    if duty.armed {
        rescue(&mut s, &mut d, duty, say).await;
    }
    put_back(&mut s, &mut d, duty, say).await;
}

/// Waits for the migration to end and resumes the guest where it belongs.
async fn rescue(s: &mut Post<'_>, d: &mut Post<'_>, duty: &Duty, say: &mut (dyn FnMut(String) + Send)) {
    let begun = Instant::now();
    let mut duty = duty.clone();
    let mut since: Option<(Verdict, bool, bool, Instant)> = None;
    let mut told = None;
    while begun.elapsed() < WATCH {
        let (source, destination) = (s.see().await, d.see().await);
        let v = verdict(&source, &destination, &duty);
        if told != Some(v) {
            told = Some(v);
            say(format!("source {source:?}, destination {destination:?}: {v:?}"));
        }
        let (src, dst) = (matches!(source, Sight::Seen(_)), matches!(destination, Sight::Seen(_)));
        let held = match since {
            Some((a, b, c, t)) if (a, b, c) == (v, src, dst) => t.elapsed(),
            _ => {
                since = Some((v, src, dst, Instant::now()));
                Duration::ZERO
            }
        };
        let clear = src && dst;
        match v {
            Verdict::Gone if held >= GONE_BELIEF => return,
            Verdict::Runs | Verdict::Leave if held >= BELIEF => return,
            // One end is gone while the other still waits for it: there is nothing to resume with.
            Verdict::Wait if !clear && held >= LOST_BELIEF => {
                say("given up: look where the guest is, and resume it by hand".into());
                return;
            }
            Verdict::ResumeDestination if clear || held >= BELIEF => {
                duty.told = true;
                report(say, "destination", d.resume().await);
            }
            Verdict::ResumeSource if clear || held >= BELIEF => report(say, "source", s.resume().await),
            _ => {}
        }
        sleep(LOOK).await;
    }
}

fn report(say: &mut (dyn FnMut(String) + Send), end: &str, result: Result<(), QmpError>) {
    match result {
        Ok(()) => say(format!("told the {end} to run the guest")),
        Err(e) => say(format!("the {end} does not run the guest: {e}")),
    }
}

/// Whether a migration in this status is over, or none was begun.
fn is_over(migration: &str) -> bool {
    matches!(migration, "" | "none" | "completed" | "failed" | "cancelled")
}

/// Gives both ends their former settings once the migration is over: to one that still runs they
/// would be other settings than it was fired with.
async fn put_back<'a>(s: &mut Post<'a>, d: &mut Post<'a>, duty: &Duty, say: &mut (dyn FnMut(String) + Send)) {
    let begun = Instant::now();
    while begun.elapsed() < WATCH {
        match s.see().await {
            Sight::Seen(end) if !is_over(&end.migration) => sleep(SLOW_LOOK).await,
            Sight::Unknown if begun.elapsed() < PUT_BACK_WITHIN => sleep(SLOW_LOOK).await,
            _ => break,
        }
    }
    for (post, former, end) in [(s, &duty.source, "source"), (d, &duty.destination, "destination")] {
        if former.is_empty() {
            continue;
        }
        match give_back_to(post, former).await {
            Ok(()) => say(format!("the {end} has its former settings again")),
            Err(why) => say(format!("the {end} does not have its former settings again ({why}): {}", former.by_hand())),
        }
    }
}

async fn give_back_to(post: &mut Post<'_>, former: &Former) -> Result<(), String> {
    let begun = Instant::now();
    loop {
        let result = match post.connect().await {
            Ok(()) => match &post.client {
                Some(client) => match timeout(ANSWER, give_back(client, former)).await {
                    Ok(given) => given.map_err(|e| (e.to_string(), matches!(e, QmpError::Refused { .. }))),
                    Err(_) => Err((format!("it did not answer within {} s", ANSWER.as_secs()), false)),
                },
                None => Ok(()),
            },
            Err(e) => {
                let refused = matches!(&e, QmpError::NoSocket { refused: true, .. });
                if post.has_ended(refused) {
                    return Err("it has ended".into());
                }
                Err((e.to_string(), false))
            }
        };
        match result {
            Ok(()) => return Ok(()),
            Err((why, _)) if begun.elapsed() > PUT_BACK_WITHIN => return Err(why),
            Err((_, refused)) => {
                if !refused {
                    post.client = None;
                }
            }
        }
        sleep(SLOW_LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn duty(text: &str) -> Option<Duty> {
        read_duty(text.as_bytes())
    }

    #[test]
    fn the_last_whole_line_is_the_duty() {
        let armed = serde_json::to_string(&Duty { armed: true, ..Duty::default() }).unwrap();
        let idle = serde_json::to_string(&Duty::default()).unwrap();
        assert!(duty("").is_none());
        assert!(duty(&format!("{idle}\n")).is_none());
        assert!(duty(&format!("{idle}\n{armed}\n")).unwrap().armed);
        assert!(duty(&format!("{armed}\n{DONE}\n")).is_none());
        assert!(duty(&format!("{armed}\n{}", &armed[..20])).unwrap().armed, "half a line is none");
        let former = r#"{"armed":false,"stopped":false,"told":false,"post_copy":false,"source":{"parameters":{"max-bandwidth":7}},"destination":{}}"#;
        assert_eq!(duty(&format!("{former}\n")).unwrap().source.parameters["max-bandwidth"], 7);
    }

    #[test]
    fn a_process_is_known_by_its_start() {
        assert!(started(std::process::id()).is_some());
        assert_eq!(started(u32::MAX), None);
    }
}
