"""What the scripts of this folder share: how Bochs and QEMU are started, and the time that a process has used."""
import os, shutil, subprocess, time

here = os.path.dirname(os.path.abspath(__file__))
BOCHS = '''config_interface: textconfig
display_library: rfb, options="timeout=0"
plugin_ctrl: unmapped=1, biosdev=1, speaker=0, e1000=0, parallel=0, serial=1
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest
cpu: model={model}, count=1, ips=100000000, reset_on_triple_fault=0
memory: guest={memory}, host={memory}
{disk}
clock: sync=none
com1: enabled=1, mode=file, dev={out}
log: {log}
panic: action=fatal
error: action=ignore
info: action=ignore
'''
NEED = {'bochs': 'bochs', 'tcg': 'qemu-system-x86_64'}
QEMU = ['qemu-system-x86_64', '-nodefaults', '-display', 'none', '-serial', 'stdio', '-accel', 'tcg', '-cpu', 'max']


def machines(vs):
    """nestbox, and those of the list that are installed."""
    return ['nestbox'] + [m for m in vs.split(',') if m and shutil.which(NEED[m])]


def sh(*cmd, **how):
    subprocess.run(cmd, check=True, stderr=subprocess.DEVNULL, **how)


def bochs(dir, model, memory, disk):
    """(command, the file that gets its serial port's output)."""
    com, rc, go = (os.path.join(dir, x) for x in ('com1', 'bochsrc', 'go'))
    with open(go, 'w') as f:
        f.write('c\n')  # Debian's build has the debugger in it
    with open(rc, 'w') as f:
        f.write(BOCHS.format(model=model, memory=memory, disk=disk, out=com, log=os.path.join(dir, 'log')))
    return ['bochs', '-q', '-f', rc, '-rc', go], com


def cpu_of(pid):
    """Seconds of processor time of all its threads."""
    tasks = f'/proc/{pid}/task'
    return sum(int(open(f'{tasks}/{t}/schedstat').read().split()[0]) for t in os.listdir(tasks)) / 1e9


def watch(cmd, out, limit, look):
    """Runs cmd, whose output is (or goes by itself) to the file `out`, and calls look(text, processor seconds, wall seconds) until that returns
    true, the command ends or `limit` seconds are over."""
    open(out, 'wb').close()
    with open(out if out.endswith('out') else os.devnull, 'wb') as f:
        began = time.time()
        p = subprocess.Popen(cmd, stdin=subprocess.DEVNULL, stdout=f, stderr=subprocess.DEVNULL)
    try:
        while time.time() - began < limit:
            ended = p.poll() is not None
            try:
                cpu = cpu_of(p.pid)
            except (OSError, IndexError):
                break
            with open(out, 'rb') as f:
                if look(f.read(), cpu, time.time() - began) or ended:
                    break
            time.sleep(0.005)
    finally:
        p.kill()
        p.wait()


def build(dir, name, rounds):
    """One loop of loops.S: (multiboot image, the same as a 64-bit ELF)."""
    o, elf64, elf = (os.path.join(dir, f'{name}.{x}') for x in ('o', 'elf64', 'elf'))
    sh('gcc', '-m64', '-fno-pic', '-c', f'-DLOOP={name}', f'-DCOUNT={rounds}', '-x', 'assembler-with-cpp', f'{here}/loops.S', '-o', o)
    sh('ld', '-n', '-T', f'{here}/loops.lds', '-o', elf64, o)
    sh('objcopy', '-O', 'elf32-i386', elf64, elf)
    return elf, elf64


def init(root):
    """The program that says INIT RUNS, as process 1 of an initramfs with this root."""
    os.makedirs(root)
    sh('gcc', '-static', '-nostdlib', '-o', f'{root}/init', f'{here}/init.S')
    return f'{root}/init'


def newc(root, path):
    """A folder as an initramfs."""
    names = subprocess.check_output(['find', '.', '-mindepth', '1'], cwd=root)
    with open(path, 'wb') as f:
        sh('cpio', '-o', '-H', 'newc', input=names, stdout=f, cwd=root)
    return path
