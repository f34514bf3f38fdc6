//! Seccomp filters that make system calls fail.

use std::io;

use anyhow::Context;
use rustix::thread::set_no_new_privs;

use super::outcome::Result;

/// Makes this system call fail with this errno for the rest of the calling thread's life.
pub(crate) fn answer(call: libc::c_long, errno: i32) -> Result {
    answer_where(call, &[], errno)
}

/// Same as [`answer`], but only if arguments have the given values. Arguments are numbered from 0.
pub(crate) fn answer_where(call: libc::c_long, args: &[(u32, u64)], errno: i32) -> Result {
    let step = |code: u32, k: u32, jf: u8| libc::sock_filter { code: code as u16, jt: 0, jf, k };
    // In the data that a filter sees, the number of the call is at offset 0. The arguments, of
    // eight bytes each, begin at offset 16. The filter compares each half separately.
    let mut wanted = vec![(0, call as u32)];
    for &(arg, value) in args {
        let (low, high) = if cfg!(target_endian = "little") { (0, 4) } else { (4, 0) };
        wanted.push((16 + 8 * arg + low, value as u32));
        wanted.push((16 + 8 * arg + high, (value >> 32) as u32));
    }
    let mut filter = Vec::new();
    for (i, &(offset, value)) in wanted.iter().enumerate() {
        let to_the_end = 2 * (wanted.len() - i) - 1;
        filter.push(step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset, 0));
        filter.push(step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, value, to_the_end as u8));
    }
    let refusal = libc::SECCOMP_RET_ERRNO | errno as u32;
    filter.push(step(libc::BPF_RET | libc::BPF_K, refusal, 0));
    filter.push(step(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0));
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    set_no_new_privs(true)?;
    // SAFETY: the kernel reads the program and its instructions only during the call.
    let done =
        unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error()).context("prctl(PR_SET_SECCOMP)")
    }
}
