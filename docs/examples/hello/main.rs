//! Sample app: answers every request with a greeting and counts the requests in
//! `/data`, so that a restart shows that its data are kept.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::{env, fs, io};

const COUNTER: &str = "/data/counter";

fn main() -> io::Result<()> {
    let greeting = env::var("GREETING").unwrap_or_else(|_| "hello".into());
    let listener = TcpListener::bind(("0.0.0.0", 8080))?;
    println!("listening on port 8080");
    for stream in listener.incoming() {
        if let Err(error) = stream.and_then(|s| answer(s, &greeting)) {
            eprintln!("a request failed: {error}");
        }
    }
    Ok(())
}

fn answer(stream: TcpStream, greeting: &str) -> io::Result<()> {
    let mut reader = BufReader::new(&stream);
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let count = fs::read_to_string(COUNTER).unwrap_or_default();
    let count = count.trim().parse().unwrap_or(0u64) + 1;
    fs::write(COUNTER, format!("{count}\n"))?;
    let body = format!("{greeting}, request {count}\n");
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n";
    write!(&stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len())
}
