/* What runs before main: vectors, floating-point unit, data, and the host's console. SPDX-License-Identifier: Apache-2.0
 *
 * For a board of your own, take its vendor's startup code and linker script instead; only main.c's `board_` functions are needed.
 */
#include <stdint.h>
#include <string.h>

#include "board.h"

extern uint32_t link_data_start, link_data_end, link_data_load, link_bss_start, link_bss_end, link_stack_top;

int main(void);
void reset(void);
void fault(void);

__attribute__((section(".vectors"), used)) static void (*const vectors[16])(void) = {
    (void (*)(void)) & link_stack_top, reset, fault, fault, fault, fault, fault};

/* Semihosting: a debugger or QEMU serves the request. */
static int host_call(int operation, const void* argument) {
  register int r0 __asm__("r0") = operation;
  register const void* r1 __asm__("r1") = argument;
  __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
  return r0;
}

void board_print(const char* text) { host_call(0x04, text); }

void board_exit(int code) {
  const uint32_t reason[2] = {0x20026, (uint32_t)code}; /* ADP_Stopped_ApplicationExit */
  host_call(0x20, reason);
  for (;;) {
  }
}

void fault(void) {
  board_print("fault\n");
  board_exit(3);
}

void reset(void) {
#if defined(__ARM_FP)
  *(volatile uint32_t*)0xe000ed88 |= 0xfu << 20; /* CPACR: coprocessors 10 and 11 are the floating-point unit */
  __asm__ volatile("dsb\nisb");
#endif
  memcpy(&link_data_start, &link_data_load, (size_t)((char*)&link_data_end - (char*)&link_data_start));
  memset(&link_bss_start, 0, (size_t)((char*)&link_bss_end - (char*)&link_bss_start));
  board_exit(main());
}
