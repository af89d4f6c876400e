/* What ring 3 asks of the kernel here; shared with assembly. */
#ifndef SYSCALLS_CALLS_H
#define SYSCALLS_CALLS_H

#define CALL_ECHO 1  /* returns argument * 3 + 1 */
#define CALL_LEAVE 2 /* ends ring 3 with the argument */

/* Ring 3's GS and stack pages. */
#define USER_GS_MAGIC 0x75736572

#define LEAVE_BAD_RESULT 0x101
#define LEAVE_BAD_GS 0x102
#define LEAVE_BAD_CS 0x103
#define LEAVE_BAD_SS 0x104
#define LEAVE_BAD_FLAGS 0x105

#endif
