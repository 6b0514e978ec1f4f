use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::event::{By, Event, Hub, SessionClock};
use crate::hypervisor::{Observation, RunCommand, run_migration};

const SOON: Duration = Duration::from_secs(30);

fn toml(text: &str) -> Config {
    toml::from_str(text).expect("a target")
}

fn refused(text: &str) -> String {
    match toml::from_str::<Config>(text) {
        Ok(config) => config.recipe().unwrap_err().to_string(),
        Err(e) => e.message().to_owned(),
    }
}

/// Two hosts that are folders: what a guest is there stands in the file `guest`.
struct Fake {
    dir: TempDir,
    sink: EventSink,
    hub: Hub,
    hypervisor: Arc<dyn Hypervisor>,
}

impl Fake {
    /// `more` is TOML; in its scripts `$A` and `$B` are the files of source and destination.
    fn new(script: &str, more: &str) -> Self {
        Self::with(script, more, true)
    }

    fn with(script: &str, more: &str, located: bool) -> Self {
        let dir = TempDir::new().unwrap();
        for (host, is) in [("a", "running"), ("b", "absent")] {
            fs::write(dir.path().join(host), is).unwrap();
        }
        let file = |host: &str| dir.path().join(host).display().to_string();
        let script = format!("A={} B={}\n{script}", file("a"), file("b"));
        fs::write(dir.path().join("migrate.sh"), script).unwrap();
        let locate = r#"
            [where]
            run = ["cat", "{here.file}"]
            rules = [
                { match = '^running$', is = "running" }, { match = '^paused$', is = "paused" },
                { match = '^migrating$', is = "migrating" }, { match = '^absent$', exit = 0, is = "absent" },
            ]"#;
        let text = format!(
            "guest = 'g1'
            from = {{ name = 'a', file = '{}' }}
            to = {{ name = 'b', file = '{}' }}
            migrate = ['sh', '{}', '{{guest}}', ['bw={{bandwidth}}']]
            patterns = [
                {{ match = '(?<percent>[0-9.]+) %', phase = 'moving' }},
                {{ match = 'error: (?<error>.*)' }},
                {{ match = 'left (?<remaining>[0-9.]+ \\S+)' }},
            ]
            {more}
            {}",
            file("a"),
            file("b"),
            file("migrate.sh"),
            if located { locate } else { "" },
        );
        let (sink, hub) = Hub::new(SessionClock::start(), 1 << 16);
        let hypervisor = open(toml(&text), sink.clone()).unwrap();
        Self { dir, sink, hub, hypervisor }
    }

    fn path(&self, host: &str) -> std::path::PathBuf {
        self.dir.path().join(host)
    }

    async fn start(&self) -> Arc<dyn Migration> {
        self.hypervisor.apply(&MigrationSettings::default()).await.unwrap();
        self.hypervisor.start(self.sink.clone()).await.unwrap()
    }

    async fn run(&self) -> (Observation, Place) {
        let migration = self.start().await;
        let end = over(&*migration).await;
        let place = migration.locate().await;
        migration.leave().await;
        (end, place)
    }

    fn events(&self) -> Vec<Body> {
        self.hub.rx.try_iter().map(|Event { ev, .. }| ev).collect()
    }
}

async fn until(migration: &dyn Migration, is: impl Fn(&Observation) -> bool) -> Observation {
    let mut seen = migration.observe();
    let wait = async {
        loop {
            let now = seen.next().await.expect("watched");
            if is(&now) {
                return now;
            }
        }
    };
    tokio::time::timeout(SOON, wait).await.expect("it comes to that")
}

async fn over(migration: &dyn Migration) -> Observation {
    until(migration, |now| now.phase.is_over()).await
}

fn stands_at_b() -> Place {
    Place::Destination { is: Condition::Runs, whole: Some(true) }
}

fn set(path: &Path, is: &str) {
    fs::write(path, is).unwrap();
}

#[tokio::test]
async fn a_migration_that_goes_well() {
    let fake = Fake::new(
        "printf '\\r 10 %%'; sleep 0.3; printf '\\r 60 %% left 1.5 GiB'; sleep 0.1; printf '\\r100 %%\\n'
         echo absent > $A; echo running > $B",
        "",
    );
    let prospect = fake.hypervisor.prospect().await;
    assert_eq!((prospect.from.as_str(), prospect.to.as_str()), ("a", "b"));
    assert_eq!(prospect.place, Place::Source(Condition::Runs));
    let up = |ev: &Body| matches!(ev, Body::Hypervisor(HvEvent::HostUp { .. }));
    assert_eq!(fake.events().iter().filter(|ev| up(ev)).count(), 2, "both answered");
    let (end, place) = fake.run().await;
    assert_eq!((end.phase, end.complete), (Phase::Done, true), "{end:?}");
    assert_eq!(place, stands_at_b());
    assert_eq!(end.sample.progress, Some(1.0));
    assert_eq!(end.sample.remaining_bytes, Some(3 << 29), "the last that was told");
    let phases: Vec<Phase> = fake
        .events()
        .into_iter()
        .filter_map(|ev| match ev {
            Body::Hypervisor(HvEvent::Phase { phase, .. }) => Some(phase),
            _ => None,
        })
        .collect();
    assert_eq!(phases, [Phase::Setup, Phase::Moving, Phase::Done]);
    // The next one goes back.
    let prospect = fake.hypervisor.prospect().await;
    assert_eq!((prospect.from.as_str(), prospect.to.as_str()), ("b", "a"));
    assert_eq!(prospect.place, Place::Source(Condition::Runs));
}

#[tokio::test]
async fn a_failure_says_why_and_percentages_may_fall() {
    let script = "for p in 10 50 99 81; do printf '\\r%s %%' $p; sleep 0.12; done; printf 'error: no route'; exit 1";
    let fake = Fake::new(script, "");
    let (end, place) = fake.run().await;
    assert_eq!((end.phase, place), (Phase::Failed, Place::Source(Condition::Runs)));
    assert_eq!(end.error.as_deref(), Some("no route (exit status 1)"));
    let told: Vec<f64> = fake
        .events()
        .iter()
        .filter_map(|ev| match ev {
            Body::Hypervisor(HvEvent::Sample { sample, .. }) => sample.progress,
            _ => None,
        })
        .collect();
    assert_eq!(told, [0.1, 0.5, 0.99, 0.81]);
}

#[tokio::test]
async fn a_command_that_is_killed_leaves_a_migration_that_is_followed_to_its_end() {
    let script = "echo migrating > $B; printf '10 %%\\n'
        setsid sh -c \"sleep 1; echo absent > $A; echo running > $B\" > /dev/null 2>&1 &
        sleep 0.2; kill -9 $$";
    let fake = Fake::new(script, "");
    let (end, place) = fake.run().await;
    assert_eq!((end.phase, place), (Phase::Done, stands_at_b()), "{end:?}");
    let logs: Vec<String> = fake
        .events()
        .into_iter()
        .filter_map(|ev| match ev {
            Body::Log(log) if log.level == Level::Warn => Some(log.text),
            _ => None,
        })
        .collect();
    assert!(logs[0].contains("killed by SIGKILL") && logs[0].contains("goes on"), "{logs:?}");
    assert!(logs[1].contains("has arrived all the same"), "{logs:?}");
}

#[tokio::test]
async fn a_killed_command_whose_migration_comes_to_nothing_has_failed() {
    let script = "echo migrating > $B; setsid sh -c \"sleep 1; echo absent > $B\" > /dev/null 2>&1 &
        sleep 0.3; kill -9 $$";
    let (end, place) = Fake::new(script, "").run().await;
    assert_eq!((end.phase, place), (Phase::Failed, Place::Source(Condition::Runs)));
    assert!(end.error.as_deref().is_some_and(|e| e.contains("SIGKILL")), "{end:?}");
}

#[tokio::test]
async fn without_where_an_end_is_only_what_the_command_says() {
    let well = Fake::with("echo 100 %", "", false);
    assert!(matches!(well.hypervisor.prospect().await.place, Place::Unknown(_)));
    let (end, place) = well.run().await;
    assert_eq!((end.phase, place), (Phase::Done, stands_at_b()));
    assert!(end.raw.contains("not asked where the guest is"), "{}", end.raw);
    well.hypervisor.after(&MigrationEnd::Done).await.unwrap();
    assert_eq!(well.hypervisor.prospect().await.from, "b");
    let (end, place) = Fake::with("echo error: lost; exit 4", "", false).run().await;
    assert_eq!((end.phase, end.error.as_deref()), (Phase::Failed, Some("lost (exit status 4)")));
    assert!(matches!(&place, Place::Unknown(why) if why.contains("set 'where'")), "{place:?}");
}

/// Migration 1 under the supervisor, which is told to hurry once it has ended.
async fn supervised(fake: &Fake) -> MigrationEnd {
    let (sink, _hub) = Hub::new(SessionClock::start(), 1 << 16);
    let (tell, commands) = tokio::sync::mpsc::channel(1);
    let hurry = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(2)).await;
        tell.send(RunCommand::Cancel { by: By::Closing }).await
    });
    let end = run_migration(&*fake.hypervisor, 1, MigrationSettings::default(), sink, commands);
    let end = tokio::time::timeout(SOON, end).await.expect("it ends");
    hurry.abort();
    end
}

#[tokio::test]
async fn the_supervisor_tells_only_what_can_be_known() {
    let well = "echo absent > $A; echo running > $B";
    assert_eq!(supervised(&Fake::new(well, "")).await, MigrationEnd::Done);
    let end = supervised(&Fake::new("echo error: no route; exit 1", "")).await;
    assert_eq!(end, MigrationEnd::Failed { why: "no route (exit status 1)".into() });
    // Nobody can say where the guest is.
    let end = supervised(&Fake::with("echo error: no route; exit 1", "", false)).await;
    assert!(matches!(&end, MigrationEnd::Unsettled { why, .. } if why.starts_with("no route")), "{end:?}");
    let end = supervised(&Fake::new("echo 'gone wild'; echo running > $B", "")).await;
    assert!(matches!(&end, MigrationEnd::Failed { why } if why.contains("runs on both hosts")), "{end:?}");
}

#[tokio::test]
async fn success_with_the_guest_still_at_the_source_is_none() {
    let (end, _) = Fake::new("exit 0", "").run().await;
    assert_eq!(end.phase, Phase::Failed);
    assert!(end.error.as_deref().is_some_and(|e| e.contains("(exit status 0), but the guest is not")), "{end:?}");
}

#[tokio::test]
async fn control_c_at_its_terminal_cancels() {
    let script = "trap 'echo cancelled by hand; exit 130' INT; printf '5 %%\\n'; while :; do sleep 0.1; done";
    let fake = Fake::new(script, "cancel = 'ctrl-c'");
    let migration = fake.start().await;
    until(&*migration, |now| now.phase == Phase::Moving).await;
    migration.order(Order::Cancel).await.unwrap();
    let end = over(&*migration).await;
    assert_eq!(end.phase, Phase::Cancelled, "{end:?}");
    let e = migration.order(Order::Cancel).await.unwrap_err().to_string();
    assert_eq!(e, "cannot cancel now: it is over");
}

#[tokio::test]
async fn a_command_cancels_and_one_that_refuses_does_not() {
    let script = "printf '5 %%\\n'; while test ! -e $A.cancel; do sleep 0.05; done; echo error: cancelled; exit 1";
    let fake = Fake::new(script, "cancel = ['sh', '-c', 'echo no such job >&2; exit 7']");
    let migration = fake.start().await;
    until(&*migration, |now| now.phase == Phase::Moving).await;
    let e = migration.order(Order::Cancel).await.unwrap_err().to_string();
    assert_eq!(e, "host 'a' refuses to cancel: no such job (exit status 7)");
    // Somebody else does: what was refused us is not what ended it.
    set(&fake.path("a.cancel"), "");
    assert_eq!(over(&*migration).await.phase, Phase::Failed);
    let fake = Fake::new(script, "cancel = ['touch', '{from.file}.cancel']");
    let migration = fake.start().await;
    until(&*migration, |now| now.phase == Phase::Moving).await;
    migration.order(Order::Cancel).await.unwrap();
    assert_eq!(over(&*migration).await.phase, Phase::Cancelled);
}

#[tokio::test]
async fn a_guest_is_stopped_and_resumed_where_it_is_known_to_stand() {
    let more = "stop = ['sh', '-c', 'echo migrating > {from.file}']
        resume = ['sh', '-c', 'echo running > {here.file}']";
    let script = "echo migrating > $B; while grep -q running $A; do printf '\\r 10 %%'; sleep 0.1; done
        printf '\\r 20 %%\\n'; sleep 0.2; echo absent > $A; echo paused > $B";
    let fake = Fake::new(script, more);
    let migration = fake.start().await;
    until(&*migration, |now| now.phase == Phase::Moving).await;
    migration.order(Order::StopSource).await.unwrap();
    let now = until(&*migration, |now| now.source_running == Some(false)).await;
    assert_eq!(now.phase, Phase::StopAndCopy);
    let end = over(&*migration).await;
    assert_eq!((end.phase, end.destination_running), (Phase::Done, Some(false)));
    assert_eq!(migration.locate().await, Place::Destination { is: Condition::Stands, whole: Some(true) });
    migration.order(Order::Resume(Side::Destination)).await.unwrap();
    assert_eq!(migration.locate().await, stands_at_b());
    // One that runs already is no error.
    migration.order(Order::Resume(Side::Destination)).await.unwrap();
}

#[tokio::test]
async fn garbage_and_lines_without_end_do_no_harm() {
    let script = "printf '5 %%\\n'; head -c 200000 /dev/urandom; head -c 3000000 /dev/zero | tr '\\0' 9; printf ' %%'
        printf '\\n999999999 %%\\n12 %%\\n'; echo absent > $A; echo running > $B";
    let fake = Fake::new(script, "");
    let (end, _) = fake.run().await;
    assert_eq!((end.phase, end.sample.progress), (Phase::Done, Some(0.12)));
    for ev in fake.events() {
        if let Body::Hypervisor(HvEvent::Raw { data, .. }) = ev {
            let text = data.as_str().unwrap();
            assert!(text.len() < 70_000 && !text.chars().any(crate::text::is_hidden));
        }
    }
}

#[tokio::test]
async fn a_command_that_is_missing_is_said_before_anything_begins() {
    let fake = Fake::new("", "");
    let config = "guest = 'g1'\nfrom = { name = 'a' }\nto = { name = 'b' }\nmigrate = ['/no/such/tool', '{guest}']";
    let (sink, _hub) = Hub::new(SessionClock::start(), 64);
    let missing = open(toml(config), sink.clone()).unwrap();
    let e = missing.start(sink.clone()).await.err().unwrap().to_string();
    assert!(e.contains("'a'") && e.contains("cannot run '/no/such/tool': there is no such program"), "{e}");
    drop(fake);
}

#[tokio::test]
async fn a_where_that_hangs_or_is_dead_says_unknown_in_time() {
    for run in ["['sleep', '600']", "['/no/such/tool']", "['sh', '-c', 'echo What?; exit 9']"] {
        let more = format!("where = {{ run = {run}, rules = [{{ match = '^running', is = 'running' }}] }}");
        let fake = Fake::with("exit 1", &more, false);
        let begun = std::time::Instant::now();
        let place = fake.hypervisor.prospect().await.place;
        assert!(matches!(place, Place::Unknown(_)), "{run}: {place:?}");
        assert!(begun.elapsed() < Duration::from_secs(10), "{run}: {:?}", begun.elapsed());
        let up = |ev: &Body| matches!(ev, Body::Hypervisor(HvEvent::HostUp { .. }));
        assert!(!fake.events().iter().any(up), "{run}: nobody answered");
    }
}

#[tokio::test]
async fn a_migration_that_somebody_else_began_is_joined() {
    let fake = Fake::new("", "");
    assert!(fake.hypervisor.join(fake.sink.clone()).await.unwrap().is_none());
    set(&fake.path("b"), "migrating");
    let migration = fake.hypervisor.join(fake.sink.clone()).await.unwrap().expect("it is under way");
    assert_eq!(migration.observe().next().await.unwrap().phase, Phase::Moving);
    set(&fake.path("a"), "absent");
    set(&fake.path("b"), "running");
    assert_eq!(over(&*migration).await.phase, Phase::Done);
}

#[tokio::test]
async fn what_is_not_offered_is_refused_before_the_start() {
    let fake = Fake::new("", "");
    let offers = fake.hypervisor.capabilities().await.unwrap();
    let sees = offers.sees.unwrap();
    assert!(sees.progress && sees.remaining && sees.location && !sees.rounds && sees.downtime.is_none());
    assert!(!offers.cancel && !offers.stop_and_copy);
    let ask = |settings: MigrationSettings| {
        let hypervisor = Arc::clone(&fake.hypervisor);
        async move { hypervisor.apply(&settings).await.map_err(|e| e.to_string()) }
    };
    let plain = MigrationSettings::default();
    assert_eq!(ask(MigrationSettings { bandwidth_bytes_per_s: Some(1), ..plain.clone() }).await, Ok(()));
    let e = ask(MigrationSettings { downtime_limit_ms: Some(1), post_copy: true, ..plain }).await.unwrap_err();
    assert!(e.contains("no downtime limit; its 'migrate' command") && e.contains("no post-copy"), "{e}");
    let migration = fake.start().await;
    for order in [Order::PostCopy, Order::AutoConverge, Order::StopSource, Order::Cancel] {
        assert!(matches!(migration.order(order).await, Err(HvError::NotNow { .. })));
    }
}

#[test]
fn a_target_that_is_written_wrongly_says_what_would_be_right() {
    let hosts = "guest = 'g1'\nfrom = { name = 'a', uri = 'x' }\nto = { name = 'b', uri = 'y' }\n";
    let with = |more: &str| refused(&format!("{hosts}{more}"));
    assert!(with("").contains("preset = one of govc, move-vm, openstack, qm, virsh"), "{}", with(""));
    assert!(with("preset = 'virhs'").contains("did you mean 'virsh'?"));
    assert!(with("preset = 'virsh'\ncansel = 'x'").contains("unknown field `cansel`"));
    assert!(with("migrate = ['x']\npatterns = [{ match = '(' }]").contains("not a regular expression"));
    let e = with("migrate = ['x']\npatterns = [{ match = '(?<persent>x)' }]");
    assert!(e.contains("no figure 'persent' (did you mean 'percent'?)"), "{e}");
    assert!(with("migrate = ['x']\npatterns = [{ match = 'x', phase = 'done' }]").contains("end of the command"));
    assert!(with("migrate = ['x']\nstop = ['y']").contains("'where' and 'resume' are needed"));
    assert!(with("migrate = ['x']\ncancel = 'ctrl-c'\nterminal = false").contains("needs terminal = true"));
    assert!(with("migrate = ['{from.peer}']").contains("host 'a' has no 'peer'"));
    let same = "guest = '-g'\nfrom = { name = 'a' }\nto = { name = 'a' }\nmigrate = ['x']";
    assert!(refused(same).contains("take it for an option"));
    assert!(refused(&same.replace("-g", "g")).contains("same host as 'from'"));
}

/// Hosts with every key that a preset names.
fn of_preset(name: &str, preset: &presets::Preset) -> Config {
    let host = |n: &str| {
        let key = |k: &String| (k.clone(), format!("{n}-{k}"));
        let mut values: std::collections::BTreeMap<_, _> = preset.host.keys().map(key).collect();
        let ssh = values.remove("ssh");
        Host { name: n.into(), ssh, values }
    };
    Config {
        guest: "g1".into(),
        from: host("a"),
        to: host("b"),
        preset: Some(name.into()),
        ..toml("guest = ''\nfrom = { name = '' }\nto = { name = '' }")
    }
}

#[test]
fn every_preset_is_complete_and_needs_only_the_keys_it_names() {
    let all = presets::all().unwrap();
    for (name, preset) in &all {
        of_preset(name, preset).recipe().unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(!preset.about.is_empty() && preset.host.values().all(|what| !what.is_empty()), "{name}");
    }
    assert!(all.contains_key("virsh") && all.contains_key("xl"));
}

fn heard(preset: &str, line: &str) -> Heard {
    let config = of_preset(preset, &presets::all().unwrap()[preset]);
    Reader::new(&config.recipe().unwrap().patterns).unwrap().read(line)
}

/// Lines as the tools really wrote them.
#[test]
fn patterns_read_what_the_tools_say() {
    let h = heard("virsh", "Migration: [ 81 %]error: operation aborted: job 'migration out' canceled by client");
    assert_eq!((h.sample.progress, h.cancelled, h.phase), (Some(0.81), true, Some(Phase::Moving)));
    assert_eq!(h.error.as_deref(), Some("operation aborted: job 'migration out' canceled by client"));
    let h = heard("virsh", "Migration: [ 27 %]error: internal error: client socket is closed");
    assert_eq!((h.error.as_deref(), h.cancelled), (Some("internal error: client socket is closed"), false));
    assert_eq!(heard("virsh", "Migration: [63.28 %]").sample.progress, Some(0.6328));
    assert_eq!(heard("virsh", "error: failed to get domain 'nosuch'").phase, None);

    assert_eq!(heard("xl", "Saving to migration stream new xl format (info 0x3/0x0/844)").phase, Some(Phase::PreCopy));
    let line = "migration target: Transfer complete, requesting permission to start domain.";
    assert_eq!(heard("xl", line).phase, Some(Phase::StopAndCopy));
    assert!(heard("xl", "migration target: Domain started successsfully.").resumed);
    let h = heard("xl", "nosuch is an invalid domain identifier (rc=-6)");
    assert_eq!(h.error.as_deref(), Some("nosuch is an invalid domain identifier (rc=-6)"));
    let line = "libxl: error: libxl_utils.c:505:libxl_read_exactly: file/stream truncated reading banner";
    assert_eq!(heard("xl", line).error.as_deref(), Some("file/stream truncated reading banner"));

    let h = heard("govc", "[26-11-26 20:40:01] migrating VirtualMachine:vm-62... (37%)");
    assert_eq!((h.sample.progress, h.error), (Some(0.37), None));
    let h = heard("govc", "[26-11-26 20:40:03] migrating VirtualMachine:vm-62...Error: no such host");
    assert_eq!(h.error.as_deref(), Some("no such host"));

    let line = "2026-08-17 13:35:26 migration active, transferred 1.2 GiB of 4.0 GiB VM-state, 112.3 MiB/s, \
                VM dirties lots of memory: 250.1 MiB/s";
    let s = heard("qm", line).sample;
    assert_eq!((s.transferred_bytes, s.total_bytes), (Some(1_288_490_189), Some(4 << 30)));
    assert_eq!(s.throughput_bytes_per_s, Some(117_755_085.0));
    assert_eq!(s.dirty_pages_per_s.map(f64::round), Some(64_026.0));
    let h = heard("qm", "2026-08-17 13:35:40 average migration speed: 110.0 MiB/s - downtime 83 ms");
    assert_eq!(h.sample.downtime_ms, Some(83.0));
    let h = heard("qm", "2026-08-17 13:35:40 ERROR: migration aborted (duration 00:00:12): no such node");
    assert_eq!(h.error.as_deref(), Some("migration aborted (duration 00:00:12): no such node"));
    assert_eq!(heard("openstack", "Progress: 45").sample.progress, Some(0.45));
    assert_eq!(
        heard("openstack", "Error migrating server: 7d7d").error.as_deref(),
        Some("Error migrating server: 7d7d")
    );
    let line = "Move-VM : Virtual machine migration operation for 'X' failed at migration source 'H'.";
    assert!(heard("move-vm", line).error.is_some());
}

fn says(preset: &str, line: &str, code: i32) -> Says {
    use std::os::unix::process::ExitStatusExt;
    let config = of_preset(preset, &presets::all().unwrap()[preset]);
    let recipe = config.recipe().unwrap();
    let settings = MigrationSettings::default();
    let (from, to) = (&config.from, &config.to);
    let values = Values { guest: &config.guest, from, to, here: Some(from), settings: &settings };
    let lines = line.lines().map(str::to_owned).collect();
    let answer = Answer { status: std::process::ExitStatus::from_raw(code << 8), lines };
    Rules::new(&recipe.locate.unwrap().rules, values).unwrap().read(&answer)
}

#[test]
fn answers_of_where_are_read() {
    use State::{Absent, Leaving, Migrating, Partial, Paused, Running};
    for (line, is) in [
        ("running (booted)", Running),
        ("running (migration canceled)", Running),
        ("running (migrated)", Running),
        ("running (post-copy)", Partial),
        ("paused (migrating)", Migrating),
        ("paused (post-copy failed)", Migrating),
        ("paused (user)", Paused),
        ("shut off (migrated)", Absent),
    ] {
        assert_eq!(says("virsh", line, 0), Ok(is), "{line}");
    }
    assert_eq!(says("virsh", "error: failed to get domain 'g1'", 1), Ok(Absent));
    // A host that cannot be asked is not one without the guest.
    let line = "error: failed to connect to the hypervisor\nerror: unable to connect to server at 'x'";
    let why = says("virsh", line, 1).unwrap_err();
    assert!(
        why.contains("failed to connect to the hypervisor / error: unable") && why.contains("exit status 1"),
        "{why}"
    );
    let list = |row: &str| {
        format!(
            "Name                    ID   Mem VCPUs\tState\tTime(s)\nDomain-0  0   448     1     r-----      38.9\n{row}"
        )
    };
    assert_eq!(says("xl", &list("g1   2   128     1     -b----      13.0"), 0), Ok(Running));
    assert_eq!(says("xl", &list("g1   2   128     1     ------       9.7"), 0), Ok(Running));
    assert_eq!(says("xl", &list("g1--incoming   2   128     1     --p---      0.0"), 0), Ok(Migrating));
    assert_eq!(says("xl", &list("g10   2   128     1     -b----      13.0"), 0), Ok(Absent));
    let row = |power: &str, uuid: &str| {
        format!(
            "uuid ( RO)           : 7d7d\n     name-label ( RW): g1\n    power-state ( RO): {power}\n    resident-on ( RO): {uuid}"
        )
    };
    assert_eq!(says("xe", &row("running", "a-uuid"), 0), Ok(Running));
    assert_eq!(says("xe", &row("running", "b-uuid"), 0), Ok(Absent));
    for (text, is) in [("a\nACTIVE", Running), ("MIGRATING\na", Leaving), ("b\nACTIVE", Absent)] {
        assert_eq!(says("openstack", text, 0), Ok(is), "{text}");
    }
    assert!(says("openstack", "No server with a name or ID of 'g1' exists.", 1).is_err());
}
