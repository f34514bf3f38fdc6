//! System calls that are answered by a filter.

use std::io;

use anyhow::Context;
use rustix::thread::set_no_new_privs;

use super::Result;

/// Has this system call answered with this errno for the rest of the calling thread's life.
pub(crate) fn answer(call: libc::c_long, errno: i32) -> Result {
    let step = |code: u32, k: u32, jf: u8| libc::sock_filter { code: code as u16, jt: 0, jf, k };
    let mut filter = [
        // The call's number comes first in what a filter sees.
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, call as u32, 1),
        step(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | errno as u32, 0),
        step(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    set_no_new_privs(true)?;
    // SAFETY: the program and its steps are read during the call.
    let done =
        unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error()).context("prctl(PR_SET_SECCOMP)")
    }
}
