use super::*;

const SOON: Duration = Duration::from_secs(20);

fn spec(argv: &[&str]) -> Spec {
    Spec { argv: argv.iter().map(|w| (*w).to_owned()).collect(), ssh: None, pty: false }
}

fn shell(script: &str, pty: bool) -> Spec {
    Spec { pty, ..spec(&["sh", "-c", script]) }
}

async fn all(process: &mut Process) -> (Vec<Piece>, ExitStatus) {
    let mut pieces = Vec::new();
    let read = async {
        loop {
            match process.next().await {
                Step::Said(piece) => pieces.push(piece),
                Step::Ended(status) => return status,
            }
        }
    };
    let status = tokio::time::timeout(SOON, read).await.expect("it ends");
    (pieces, status)
}

fn texts(pieces: &[Piece]) -> Vec<&str> {
    pieces.iter().filter(|p| p.whole).map(|p| p.text.as_str()).collect()
}

fn lives(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|s| !s.contains(") Z "))
}

async fn until(what: impl Fn() -> bool) -> bool {
    for _ in 0..400 {
        if what() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    false
}

#[tokio::test]
async fn an_answer_has_both_streams_and_the_exit_status() {
    let answer = shell("echo $LC_ALL $TERM; echo no >&2; exit 3", false).answer(SOON).await.unwrap();
    assert_eq!(answer.lines, ["C dumb", "no"]);
    assert_eq!(ending(answer.status), "exit status 3");
}

#[tokio::test]
async fn a_command_that_cannot_be_run_says_what_is_missing() {
    let e = spec(&["/no/such/virsh", "x"]).answer(SOON).await.unwrap_err().to_string();
    assert_eq!(e, "cannot run '/no/such/virsh': there is no such program; install it, or give its whole path");
    assert!(spec(&[]).spawn().unwrap_err().to_string().contains("no words"));
    assert!(spec(&["/etc/passwd"]).spawn().unwrap_err().to_string().contains("ermission"));
}

#[tokio::test]
async fn a_command_that_hangs_is_killed_with_what_it_started() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let script = format!("sleep 600 & echo $! > {}; echo on its way; wait", file.path().display());
    let e = shell(&script, false).answer(Duration::from_millis(300)).await.unwrap_err().to_string();
    assert!(e.ends_with("did not end within 300 ms"), "{e}");
    let pid = std::fs::read_to_string(file.path()).unwrap();
    assert!(until(|| !lives(pid.trim())).await, "its child lives on");
}

#[tokio::test]
async fn a_command_that_leaves_a_process_with_its_output_behind_ends_all_the_same() {
    for pty in [false, true] {
        let begun = Instant::now();
        let answer = shell("sleep 600 & echo $!", pty).answer(SOON).await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(5));
        let pid = answer.lines[0].clone();
        assert!(until(|| !lives(&pid)).await, "{pid} lives on");
    }
}

#[tokio::test]
async fn half_a_line_is_shown_before_it_ends() {
    let mut process = shell("printf '\\rhalf'; sleep 0.4; printf ' whole\\r'; printf last", false).spawn().unwrap();
    let (pieces, status) = all(&mut process).await;
    assert_eq!(pieces[0], Piece { text: "half".into(), whole: false });
    assert_eq!(texts(&pieces), ["half whole", "last"]);
    assert!(status.success());
}

#[tokio::test]
async fn a_line_without_end_and_garbage_are_bounded() {
    let script =
        "head -c 3000000 /dev/zero | tr '\\0' x; echo; printf '\\033[2Jred\\007\\n'; head -c 4096 /dev/urandom";
    let (pieces, status) = all(&mut shell(script, false).spawn().unwrap()).await;
    assert!(status.success());
    assert!(pieces.iter().all(|p| p.text.len() < 70_000 && !p.text.chars().any(crate::text::is_hidden)));
    assert!(texts(&pieces).contains(&"red\\x07"), "{:?}", pieces.len());
}

#[tokio::test]
async fn a_terminal_controls_its_command_and_control_c_reaches_it() {
    let script = "test -t 0 && test -t 1 && test -t 2 && echo terminal; exec < /dev/tty && echo controls; exec cat";
    let mut process = shell(script, true).spawn().unwrap();
    let control = process.control();
    let mut said = Vec::new();
    while said.len() < 2 {
        match process.next().await {
            Step::Said(piece) => said.push(piece.text),
            Step::Ended(status) => panic!("{said:?} {status}"),
        }
    }
    assert_eq!(said, ["terminal", "controls"]);
    control.interrupt().unwrap();
    let (pieces, status) = all(&mut process).await;
    assert_eq!(ending(status), "killed by SIGINT", "{pieces:?}");
    assert!(control.interrupt().is_err() && control.signal(Signal::SIGTERM).is_err() && !control.lives());
}

#[tokio::test]
async fn a_signal_reaches_the_whole_group_also_without_a_terminal() {
    let mut process = shell("echo on; sleep 600; echo not reached", false).spawn().unwrap();
    assert!(matches!(process.next().await, Step::Said(_)));
    process.control().signal(Signal::SIGTERM).unwrap();
    let (pieces, status) = all(&mut process).await;
    assert_eq!((pieces.len(), ending(status)), (0, "killed by SIGTERM".into()));
}

#[tokio::test]
async fn dropped_it_leaves_nothing() {
    for pty in [false, true] {
        let mut process = shell("trap '' HUP INT TERM; echo $$; sleep 600 & wait; sleep 600", pty).spawn().unwrap();
        let Step::Said(Piece { text: pid, .. }) = process.next().await else { panic!("it says its number") };
        drop(process);
        assert!(until(|| !lives(&pid)).await, "{pid} lives on");
    }
}

#[tokio::test]
async fn a_command_can_be_spoken_to_and_has_no_terminal_to_ask_at() {
    let script = "(: </dev/tty) 2>/dev/null || echo none; while read -r line; do echo \"<$line>\"; done; echo end";
    let (mut process, mut pen) = shell(script, false).converse().unwrap();
    pen.write("a\nb c\n").await.unwrap();
    let mut said = Vec::new();
    while said.len() < 3 {
        match tokio::time::timeout(SOON, process.next()).await.expect("it answers") {
            Step::Said(piece) => said.push(piece.text),
            Step::Ended(status) => panic!("{said:?} {status}"),
        }
    }
    assert_eq!(said, ["none", "<a>", "<b c>"]);
    drop(pen);
    let (pieces, status) = all(&mut process).await;
    assert_eq!((texts(&pieces), status.success()), (vec!["end"], true));
}

#[test]
fn over_ssh_no_shell_reads_the_words() {
    let over = Spec { ssh: Some("root@a".into()), ..spec(&["xl", "migrate", "a guest's", "", "$(x)"]) };
    let words = over.words();
    assert_eq!(words[words.len() - 2], "root@a");
    assert_eq!(words[words.len() - 1], r"LC_ALL=C TERM=dumb exec xl migrate 'a guest'\''s' '' '$(x)'");
    assert!(!words.contains(&"-tt".to_owned()) && words.contains(&"BatchMode=yes".to_owned()));
    assert!(Spec { pty: true, ..over.clone() }.words().contains(&"-tt".to_owned()));
    assert_eq!(over.shown(), r"xl migrate 'a guest'\''s' '' '$(x)' (at root@a)");
}

/// What a real shell makes of the quoted words is what was given.
#[tokio::test]
async fn quoted_words_come_out_as_they_went_in() {
    let words = ["a b", "'", "\"", "$HOME", "`x`", "\\", "*", "", "-n", "ü", "a\tb;c|d&e"];
    let script: Vec<String> = words.iter().map(|w| quoted(w)).collect();
    let answer = shell(&format!("for w in {}; do printf '<%s>\\n' \"$w\"; done", script.join(" ")), false);
    let answer = answer.answer(SOON).await.unwrap();
    let wanted: Vec<String> = words.iter().map(|w| visible(&format!("<{w}>")).into_owned()).collect();
    assert_eq!(answer.lines, wanted);
}
