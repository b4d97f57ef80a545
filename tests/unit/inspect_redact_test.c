/* Redaction: what must not survive, and what must stay as it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "inspect/redact.h"

/* The one line, with web7 learnt as a host's name. */
static char *redacted(const char *line)
{
	struct redact *r = redact_new(NULL);
	size_t n;
	char *out;

	assert_non_null(r);
	redact_learn_host(r, "web7.corp.example");
	redact_scan(r, line, strlen(line));
	out = redact_text(r, line, strlen(line), &n);
	assert_non_null(out);
	assert_int_equal(n, strlen(out));
	redact_free(r);
	return out;
}

static void becomes(void **state)
{
	static const struct {
		const char *in, *out;
	} cases[] = {
		/* QEMU's command lines */
		{"-object secret,id=sec0,data=hunter2,format=raw -m 1",
		 "-object secret,id=sec0,data=SECRET-1,format=raw -m 1"},
		{"-object '{\"qom-type\":\"secret\",\"id\":\"k0\",\"data\":\"aGVsbG8=\"}'",
		 "-object '{\"qom-type\":\"secret\",\"id\":\"k0\",\"data\":\"SECRET-1\"}'"},
		{"-spice port=5900,password=geheim,disable-ticketing=on",
		 "-spice port=5900,password=SECRET-1,disable-ticketing=on"},
		{"-drive file=ssh://joe:pw@h/img,serial=WD-123,id=d",
		 "-drive file=ssh://SECRET-1@h/img,serial=SERIAL-1,id=d"},
		{"-drive file=https://h/img?token=abcdef&x=1", "-drive file=https://h/img?token=SECRET-1&x=1"},
		{"-fw_cfg name=opt/ign,string=topsecret -m 1", "-fw_cfg name=opt/ign,string=SECRET-1 -m 1"},
		{"-smbios type=11,value=io.systemd.credential:login=xyz",
		 "-smbios type=11,value=io.systemd.credential:login=SECRET-1"},
		{"-smbios type=1,uuid=12345678-1234-1234-1234-123456789abc,serial=S1",
		 "-smbios type=1,uuid=UUID-1,serial=SERIAL-1"},
		{"-name guest=prod-db,debug-threads=on", "-name guest=GUEST-1,debug-threads=on"},
		{"file=/var/lib/libvirt/qemu/domain-3-prod-db/master-key.aes",
		 "file=/var/lib/libvirt/qemu/domain-3-GUEST-1/master-key.aes"},
		{"-device e1000,mac=52:54:00:aB:cd:ef,netdev=n", "-device e1000,mac=MAC-1,netdev=n"},
		{"-netdev user,hostfwd=tcp:192.0.2.7:22-10.0.2.15:22", "-netdev user,hostfwd=tcp:IP-1:22-IP-2:22"},
		{"-vnc [2001:db8::5]:1", "-vnc [IP-1]:1"},
		{"file=/dev/disk/by-id/nvme-SAMSUNG_S4EV-part1", "file=/dev/disk/by-id/SERIAL-1"},
		{"file=/home/joe/vm/a.img /home/joe/b.img /home/ann/",
		 "file=/home/USER-1/vm/a.img /home/USER-1/b.img /home/USER-2/"},
		/* kernel command lines, logs */
		{"root=UUID=12345678-1234-1234-1234-123456789abc rd.iscsi.password=geheim "
		 "ip=10.1.2.3::10.1.2.1:255.255.255.0:web7:eth0",
		 "root=UUID=UUID-1 rd.iscsi.password=SECRET-1 ip=IP-1::IP-2:255.255.255.0:HOST-1:eth0"},
		{"systemd.hostname=db3.example systemd.set_credential=tok:1 db3 up",
		 "systemd.hostname=HOST-1 systemd.set_credential=tok:SECRET-1 HOST-2 up"},
		{"systemd[1]: Hostname set to <db3>.", "systemd[1]: Hostname set to <HOST-1>."},
		{"Nov 22 18:00:01 db3 kernel: db3 says", "Nov 22 18:00:01 HOST-1 kernel: HOST-1 says"},
		{"usb 1-1: SerialNumber: 4C530001", "usb 1-1: SerialNumber: SERIAL-1"},
		{"Linux version 6.1 (joe@laptop) (gcc 12)", "Linux version 6.1 (EMAIL-1) (gcc 12)"},
		{"mail joe@mail.example.org now", "mail EMAIL-1 now"},
		{"web7: up; on web7.corp.example, WEB7", "HOST-1: up; on HOST-2, HOST-1"},
		{"eth0: 00:1b:21:aa:bb:cc, fe80::21b:21ff:feaa:bbcc%eth0", "eth0: MAC-1, IP-1%eth0"},
		/* dmidecode, /sys, s390x */
		{"\tSerial Number: ABC 123", "\tSerial Number: SERIAL-1"},
		{"\tUUID: 12345678-1234-1234-1234-123456789abc", "\tUUID: UUID-1"},
		{"\tAsset Tag: 007", "\tAsset Tag: SERIAL-1"},
		{"/sys/class/dmi/id/product_serial: XYZ", "/sys/class/dmi/id/product_serial: SERIAL-1"},
		{"Sequence Code:        00000000000ABCDE", "Sequence Code:        SERIAL-1"},
		{"LPAR Name:            PROD1", "LPAR Name:            HOST-1"},
		{"processor 0: version = FF,  identification = 0ABCDE,  machine = 3906",
		 "processor 0: version = FF,  identification = SERIAL-1,  machine = 3906"},
		/* the well-known */
		{"Authorization: Bearer abcdefghijklmnop", "Authorization: Bearer SECRET-1"},
		{"ghp_0123456789abcdefghijABCDEFGHIJ012345", "SECRET-1"},
		{"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ joe@laptop", "ssh-ed25519 KEY-1"},
		{"passwd: geheim", "passwd: SECRET-1"},
		{"K3S_TOKEN=K10abcdef::server:1 x", "K3S_TOKEN=SECRET-1 x"},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		char *out = redacted(cases[i].in);

		assert_string_equal(out, cases[i].out);
		free(out);
	}
}

static void stays(void **state)
{
	static const char *const lines[] = {
		"Linux version 6.1.0-50-cloud-amd64 (debian-kernel@lists.debian.org) (gcc-12 (Debian 12.2.0-14))",
		"QEMU emulator version 7.2.22.1 (Debian 1:7.2+dfsg-7+deb12u18)",
		"qemu-7.2.0.1 started, lo 127.0.0.1 ::1 0.0.0.0, mask 255.255.255.0",
		"[    0.000000] BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff] usable",
		"pci 0000:00:1f.2: [8086:2922] type 00 class 0x010601 at 12:34:56",
		"usb usb1: New USB device strings: Mfr=3, Product=2, SerialNumber=1",
		"getty@tty1.service: Succeeded, modprobe@configfs.service too",
		"Call Trace: std::dec abc::x ioremap_page_range+0x1a/0x2b cpu@0 pci@10000000",
		"\tSerial Number: Not Specified",
		"-vnc :0,password=on -device virtio-net-pci,mac=00:00:00:00:00:00",
		"tpm: keyring: Loaded X.509 cert 'Debian Secure Boot CA: 6ccece7e4c6c0d1f6149f3dd27dfcc5cbb419ea1'",
		"flags : fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov",
		"00000001 00000000 00a20f10 01020800 7ffafbbf 178bfbff",
		"-machine pc,secret-file=/etc/x password-secret=sec0 webserver web70 -L /home/ root",
		"x86/mm: Memory block size: 128MB; ima: No TPM chip found, activating TPM-bypass!",
	};

	for (unsigned i = 0; i < ARRAY_SIZE(lines); i++) {
		char *out = redacted(lines[i]);

		assert_string_equal(out, lines[i]);
		free(out);
	}
}

static void many_lines(void **state)
{
	static const char text[] = "a 10.0.0.1\nb 10.0.0.2\0c\n\n-----BEGIN OPENSSH PRIVATE "
				   "KEY-----\nb3BlbnNzaC1rZXk\nAAA=\n-----END OPENSSH PRIVATE KEY-----\nz 10.0.0.1";
	struct redact *r = redact_new(NULL);
	size_t n;
	char *out = redact_text(r, text, sizeof(text) - 1, &n), *again;

	assert_string_equal(out, "a IP-1\nb IP-2 c\n\n-----BEGIN OPENSSH PRIVATE KEY-----\nKEY-1\n-----END OPENSSH "
				 "PRIVATE KEY-----\nz IP-1");
	again = redact_text(r, out, n, &n);
	assert_string_equal(again, out); /* placeholders are no secrets */
	for (unsigned i = 0; i < redact_rules(); i++) {
		struct redact_row_count c = redact_count(r, i);

		if (!strcmp(c.id, "IP4")) {
			assert_int_equal(c.values, 2);
			assert_int_equal(c.times, 3);
		}
	}
	free(again);
	free(out);
	redact_free(r);
}

/* A line longer than any buffer, and a value at every place of it. */
static void long_line(void **state)
{
	size_t n, room = 300000;
	char *line = malloc(room), *out;
	struct redact *r = redact_new(NULL);

	memset(line, 'x', room);
	for (size_t i = 0; i + 40 < room; i += 40)
		memcpy(line + i, " 192.0.2.77 ", 12);
	out = redact_text(r, line, room, &n);
	assert_non_null(out);
	assert_null(memmem(out, n, "192.0.2.77", 10));
	free(out);
	free(line);
	redact_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(becomes),
		cmocka_unit_test(stays),
		cmocka_unit_test(many_lines),
		cmocka_unit_test(long_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
