//! A pretended QEMU: answers what every QEMU answers, and does on `migrate` what a test scripts.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use blackout::hypervisor::qmp::{Endpoint, HostSpec};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{broadcast, watch};
use tokio::task::AbortHandle;

/// What a pretended QEMU is at the moment.
#[derive(Debug)]
struct State {
    status: &'static str,
    migration: Value,
    /// Commands refused with this text.
    refused: HashMap<&'static str, &'static str>,
    /// Commands whose answer is half a message.
    garbled: Vec<&'static str>,
    parameters: Value,
    capabilities: BTreeMap<String, bool>,
    /// Commands that get no answer.
    unanswered: HashSet<&'static str>,
    /// Those who accept connections.
    open: Vec<AbortHandle>,
}

/// One pretended QEMU with a monitor for commands and one for events.
#[derive(Debug, Clone)]
pub(crate) struct Fake {
    name: &'static str,
    dir: PathBuf,
    state: Arc<Mutex<State>>,
    /// Lines for all clients; None ends their connections.
    out: broadcast::Sender<Option<String>>,
    commands: watch::Sender<Vec<String>>,
}

impl Fake {
    /// Opens the monitors. `status` is what `query-status` says: `running` or `inmigrate`.
    pub(crate) fn open(dir: &Path, name: &'static str, status: &'static str) -> Self {
        let fake = Self {
            name,
            dir: dir.into(),
            state: Arc::new(Mutex::new(State {
                status,
                migration: json!({}),
                refused: HashMap::new(),
                garbled: Vec::new(),
                parameters: json!({"max-bandwidth": 1000, "downtime-limit": 300}),
                capabilities: ["events", "return-path", "postcopy-ram", "auto-converge"]
                    .map(|c| (c.to_owned(), false))
                    .into(),
                unanswered: HashSet::new(),
                open: Vec::new(),
            })),
            out: broadcast::channel(1000).0,
            commands: watch::Sender::new(Vec::new()),
        };
        for monitor in ["c", "e"] {
            let listener = UnixListener::bind(fake.path(monitor)).unwrap();
            let serving = fake.clone();
            let open = tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serving.clone().serve(stream));
                }
            });
            fake.state.lock().unwrap().open.push(open.abort_handle());
        }
        fake
    }

    fn path(&self, monitor: &str) -> PathBuf {
        self.dir.join(format!("{}.{monitor}", self.name))
    }

    pub(crate) fn spec(&self) -> HostSpec {
        let at = |m| Endpoint::Unix(self.path(m));
        HostSpec { name: self.name.into(), control: at("c"), events: Some(at("e")), guardian: None, pid: None }
    }

    /// Sends an event to all clients.
    pub(crate) fn event(&self, name: &str, data: Value) {
        let stamp = json!({"seconds": 1_795_377_490, "microseconds": 5});
        self.say(&json!({"event": name, "data": data, "timestamp": stamp}).to_string());
    }

    /// Sends a line to all clients.
    pub(crate) fn say(&self, line: &str) {
        let _ = self.out.send(Some(line.to_owned()));
    }

    /// Ends all connections and takes no more, as a dying process does.
    pub(crate) fn die(&self) {
        for monitor in ["c", "e"] {
            let _ = std::fs::remove_file(self.path(monitor));
        }
        self.state.lock().unwrap().open.drain(..).for_each(|open| open.abort());
        let _ = self.out.send(None);
    }

    /// Gives no answer to these commands any more.
    pub(crate) fn hang(&self, commands: &[&'static str]) {
        self.state.lock().unwrap().unanswered.extend(commands);
    }

    /// Answers everything again.
    pub(crate) fn answer_again(&self) {
        self.state.lock().unwrap().unanswered.clear();
    }

    /// The answer to `query-migrate` from now on.
    pub(crate) fn answer(&self, migration: Value) {
        self.state.lock().unwrap().migration = migration;
    }

    /// The answer, and the event that goes with it.
    pub(crate) fn migration(&self, status: &str, ram: Option<Value>) {
        let mut answer = json!({"status": status, "total-time": 10});
        if let Some(ram) = ram {
            answer["ram"] = ram;
        }
        if status == "completed" {
            answer["downtime"] = json!(6);
        }
        self.answer(answer);
        self.event("MIGRATION", json!({ "status": status }));
    }

    /// Whether the guest runs, and the event that goes with it.
    pub(crate) fn guest(&self, status: &'static str) {
        self.state.lock().unwrap().status = status;
        match status {
            "running" => self.event("RESUME", Value::Null),
            "paused" | "postmigrate" => self.event("STOP", Value::Null),
            _ => {}
        }
    }

    /// Changes the status without an event.
    pub(crate) fn status(&self, status: &'static str) {
        self.state.lock().unwrap().status = status;
    }

    pub(crate) fn refuse(&self, command: &'static str, why: &'static str) {
        self.state.lock().unwrap().refused.insert(command, why);
    }

    /// The answer to `command` cannot be read from now on.
    pub(crate) fn garble(&self, command: &'static str) {
        self.state.lock().unwrap().garbled.push(command);
    }

    /// Every parameter and capability.
    pub(crate) fn settings(&self) -> (Value, BTreeMap<String, bool>) {
        let state = self.state.lock().unwrap();
        (state.parameters.clone(), state.capabilities.clone())
    }

    /// Waits until `command` has been given.
    pub(crate) async fn given(&self, command: &str) {
        let mut rx = self.commands.subscribe();
        rx.wait_for(|all| all.iter().any(|c| c == command)).await.unwrap();
    }

    /// Waits until the driver has looked at the migration `times` more times.
    pub(crate) async fn looked(&self, times: usize) {
        let looks = |all: &Vec<String>| all.iter().filter(|c| *c == "query-migrate").count();
        let mut rx = self.commands.subscribe();
        let before = looks(&rx.borrow());
        rx.wait_for(|all| looks(all) >= before + times).await.unwrap();
    }

    /// The commands given so far that are no questions.
    pub(crate) fn orders(&self) -> Vec<String> {
        self.commands.borrow().iter().filter(|c| !c.starts_with("query-")).cloned().collect()
    }

    async fn serve(self, stream: UnixStream) {
        let (read, mut write) = stream.into_split();
        let mut out = self.out.subscribe();
        let greeting = json!({"QMP": {"version": {"qemu": {"major": 10, "minor": 0, "micro": 2}}, "capabilities": []}});
        if write.write_all(format!("{greeting}\r\n").as_bytes()).await.is_err() {
            return;
        }
        let mut lines = BufReader::new(read).lines();
        loop {
            let line = tokio::select! {
                biased;
                said = out.recv() => match said {
                    Ok(Some(line)) => line,
                    _ => return,
                },
                Ok(Some(line)) = lines.next_line() => match self.obey(&line) {
                    Some(reply) => reply,
                    None => continue,
                },
                else => return,
            };
            if write.write_all(format!("{line}\r\n").as_bytes()).await.is_err() {
                return;
            }
        }
    }

    fn obey(&self, line: &str) -> Option<String> {
        let request: Value = serde_json::from_str(line).unwrap();
        let command = request["execute"].as_str().unwrap().to_owned();
        if self.state.lock().unwrap().unanswered.contains(command.as_str()) {
            self.commands.send_modify(|all| all.push(command));
            return None;
        }
        let refusal = self.state.lock().unwrap().refused.get(command.as_str()).copied();
        let mut reply = match (refusal, command.as_str()) {
            (Some(why), _) => json!({"error": {"class": "GenericError", "desc": why}}),
            (None, "query-status") => {
                let status = self.state.lock().unwrap().status;
                json!({"return": {"status": status, "running": status == "running"}})
            }
            (None, "query-migrate") => json!({"return": self.state.lock().unwrap().migration.clone()}),
            (None, "query-migrate-capabilities") => {
                let all = self.state.lock().unwrap().capabilities.clone();
                let all: Vec<Value> = all.iter().map(|(c, on)| json!({"capability": c, "state": on})).collect();
                json!({ "return": all })
            }
            (None, "query-migrate-parameters") => json!({"return": self.state.lock().unwrap().parameters.clone()}),
            (None, "migrate-set-parameters") => {
                let mut state = self.state.lock().unwrap();
                for (name, value) in request["arguments"].as_object().unwrap() {
                    state.parameters[name] = value.clone();
                }
                json!({"return": {}})
            }
            (None, "migrate-set-capabilities") => {
                let mut state = self.state.lock().unwrap();
                for c in request["arguments"]["capabilities"].as_array().unwrap() {
                    let (name, on) = (c["capability"].as_str().unwrap(), c["state"].as_bool().unwrap());
                    state.capabilities.insert(name.to_owned(), on);
                }
                json!({"return": {}})
            }
            (None, "stop") => {
                self.guest("paused");
                json!({"return": {}})
            }
            (None, "cont") => {
                // As in QEMU, it has no effect before everything has arrived.
                if self.state.lock().unwrap().status == "paused" {
                    self.guest("running");
                }
                json!({"return": {}})
            }
            (None, _) => json!({"return": {}}),
        };
        reply["id"] = request["id"].clone();
        let mut text = reply.to_string();
        if self.state.lock().unwrap().garbled.iter().any(|c| *c == command) {
            text.insert(1, '!');
        }
        self.commands.send_modify(|all| all.push(command));
        Some(text)
    }
}
