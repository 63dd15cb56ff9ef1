//! Arguments that are needed after the body, or beyond the call, and cannot be cloned.
use cache_runtime::{cache_read, cache_write};

struct Conn;

struct Ticket;

#[cache_read(key = "user:<user_id>", skip(conn))]
async fn get_user(conn: &Conn, user_id: u64) -> u64 {
    let _ = conn;
    user_id
}

#[cache_read(key = "ticket", skip(ticket))]
async fn get_ticket(ticket: Ticket) -> u64 {
    let _ = ticket;
    1
}

#[cache_write(tags = ["user:<user_id>"], recache = [get_user(conn, user_id)], recache_mode = background)]
async fn beyond_the_call(conn: &Conn, user_id: u64) -> u64 {
    let _ = conn;
    user_id
}

#[cache_write(tags = ["ticket"], recache = [get_ticket(ticket)])]
async fn after_the_body(ticket: Ticket) -> u64 {
    let _ = ticket;
    1
}

fn main() {}
