//! Fields that a placeholder names and that do not exist.
use cache_runtime::cache_read;

#[derive(Clone, serde::Serialize, serde::Deserialize)]
struct User {
    id: u64,
}

#[cache_read(key = "x:<user.idd>", tags = ["y:<result.org>"])]
async fn field(user: User) -> User {
    user
}

fn main() {}
