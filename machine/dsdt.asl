/*
 * What the operating system is told of the board and cannot find out by itself. Addresses are those of map.h, dev/pm.h and pc.c.
 *
 * Functions on bus 0 use only INTA, which for slot n is wired to input 16 + n mod 4 of the I/O APIC, and through the router of
 * the ISA bridge (dev/piix.h) to the 8259 pair: PIRQA is slot 1's, PIRQB slot 2's and so on.
 */
DefinitionBlock ("", "DSDT", 2, "NESTBX", "NESTBOX", 1)
{
    Name (\_S5, Package () { 5, 5, 0, 0 })

    /* The interrupt controllers in use: 0 the 8259 pair, 1 the I/O APIC. */
    Name (PICM, 0)
    Method (\_PIC, 1) { PICM = Arg0 }

    Scope (\_SB)
    {
        Device (PCI0)
        {
            Name (_HID, EisaId ("PNP0A03"))
            Name (_UID, Zero)
            Name (_BBN, Zero)
            Name (_CRS, ResourceTemplate ()
            {
                WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode, 0, 0, 0, 0, 1)
                IO (Decode16, 0x0CF8, 0x0CF8, 1, 8)
                WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange, 0, 0x0000, 0x0CF7, 0, 0x0CF8)
                WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange, 0, 0x0D00, 0xFFFF, 0, 0xF300)
                DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable, ReadWrite,
                    0, 0xC0000000, 0xDFFFFFFF, 0, 0x20000000)
                DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable, ReadWrite,
                    0, 0xE0100000, 0xFEBFFFFF, 0, 0x1EB00000)
            })
            Device (ISA)
            {
                Name (_ADR, 0x00010000)
                OperationRegion (PIRQ, PCI_Config, 0x60, 4)
                Field (PIRQ, ByteAcc, NoLock, Preserve)
                {
                    PRQA, 8,
                    PRQB, 8,
                    PRQC, 8,
                    PRQD, 8
                }
            }

            /* What the four link devices have in common: a router register as status and as resources. */
            Method (LSTA, 1) { If (Arg0 & 0x80) { Return (0x09) } Return (0x0B) }
            Name (LRES, ResourceTemplate () { IRQ (Level, ActiveLow, Shared, IRQX) { 0 } })
            Method (LCRS, 1, Serialized)
            {
                CreateWordField (LRES, ^IRQX._INT, MASK)
                MASK = 0
                If (!(Arg0 & 0x80)) { MASK = 1 << (Arg0 & 0x0F) }
                Return (LRES)
            }
            Method (LSRS, 1, Serialized)
            {
                CreateWordField (Arg0, 1, MASK)
                FindSetRightBit (MASK, Local0)
                Return (Local0 - 1)
            }
            Device (LNKA)
            {
                Name (_HID, EisaId ("PNP0C0F"))
                Name (_UID, 0)
                Name (_PRS, ResourceTemplate () { IRQ (Level, ActiveLow, Shared) { 5, 10, 11 } })
                Method (_STA) { Return (LSTA (^^ISA.PRQA)) }
                Method (_DIS) { ^^ISA.PRQA |= 0x80 }
                Method (_CRS) { Return (LCRS (^^ISA.PRQA)) }
                Method (_SRS, 1) { ^^ISA.PRQA = LSRS (Arg0) }
            }
            Device (LNKB)
            {
                Name (_HID, EisaId ("PNP0C0F"))
                Name (_UID, 1)
                Name (_PRS, ResourceTemplate () { IRQ (Level, ActiveLow, Shared) { 5, 10, 11 } })
                Method (_STA) { Return (LSTA (^^ISA.PRQB)) }
                Method (_DIS) { ^^ISA.PRQB |= 0x80 }
                Method (_CRS) { Return (LCRS (^^ISA.PRQB)) }
                Method (_SRS, 1) { ^^ISA.PRQB = LSRS (Arg0) }
            }
            Device (LNKC)
            {
                Name (_HID, EisaId ("PNP0C0F"))
                Name (_UID, 2)
                Name (_PRS, ResourceTemplate () { IRQ (Level, ActiveLow, Shared) { 5, 10, 11 } })
                Method (_STA) { Return (LSTA (^^ISA.PRQC)) }
                Method (_DIS) { ^^ISA.PRQC |= 0x80 }
                Method (_CRS) { Return (LCRS (^^ISA.PRQC)) }
                Method (_SRS, 1) { ^^ISA.PRQC = LSRS (Arg0) }
            }
            Device (LNKD)
            {
                Name (_HID, EisaId ("PNP0C0F"))
                Name (_UID, 3)
                Name (_PRS, ResourceTemplate () { IRQ (Level, ActiveLow, Shared) { 5, 10, 11 } })
                Method (_STA) { Return (LSTA (^^ISA.PRQD)) }
                Method (_DIS) { ^^ISA.PRQD |= 0x80 }
                Method (_CRS) { Return (LCRS (^^ISA.PRQD)) }
                Method (_SRS, 1) { ^^ISA.PRQD = LSRS (Arg0) }
            }

            Name (PRTP, Package ()
            {
                Package () { 0x0001FFFF, 0, LNKA, 0 },
                Package () { 0x0002FFFF, 0, LNKB, 0 },
                Package () { 0x0003FFFF, 0, LNKC, 0 },
                Package () { 0x0004FFFF, 0, LNKD, 0 },
                Package () { 0x0005FFFF, 0, LNKA, 0 },
                Package () { 0x0006FFFF, 0, LNKB, 0 },
                Package () { 0x0007FFFF, 0, LNKC, 0 },
                Package () { 0x0008FFFF, 0, LNKD, 0 },
                Package () { 0x0009FFFF, 0, LNKA, 0 },
                Package () { 0x000AFFFF, 0, LNKB, 0 },
                Package () { 0x000BFFFF, 0, LNKC, 0 },
                Package () { 0x000CFFFF, 0, LNKD, 0 },
                Package () { 0x000DFFFF, 0, LNKA, 0 },
                Package () { 0x000EFFFF, 0, LNKB, 0 },
                Package () { 0x000FFFFF, 0, LNKC, 0 },
                Package () { 0x0010FFFF, 0, LNKD, 0 },
                Package () { 0x0011FFFF, 0, LNKA, 0 },
                Package () { 0x0012FFFF, 0, LNKB, 0 },
                Package () { 0x0013FFFF, 0, LNKC, 0 },
                Package () { 0x0014FFFF, 0, LNKD, 0 },
                Package () { 0x0015FFFF, 0, LNKA, 0 },
                Package () { 0x0016FFFF, 0, LNKB, 0 },
                Package () { 0x0017FFFF, 0, LNKC, 0 },
                Package () { 0x0018FFFF, 0, LNKD, 0 },
                Package () { 0x0019FFFF, 0, LNKA, 0 },
                Package () { 0x001AFFFF, 0, LNKB, 0 },
                Package () { 0x001BFFFF, 0, LNKC, 0 },
                Package () { 0x001CFFFF, 0, LNKD, 0 },
                Package () { 0x001DFFFF, 0, LNKA, 0 },
                Package () { 0x001EFFFF, 0, LNKB, 0 },
                Package () { 0x001FFFFF, 0, LNKC, 0 }
            })
            Name (PRTA, Package ()
            {
                Package () { 0x0001FFFF, 0, 0, 17 },
                Package () { 0x0002FFFF, 0, 0, 18 },
                Package () { 0x0003FFFF, 0, 0, 19 },
                Package () { 0x0004FFFF, 0, 0, 16 },
                Package () { 0x0005FFFF, 0, 0, 17 },
                Package () { 0x0006FFFF, 0, 0, 18 },
                Package () { 0x0007FFFF, 0, 0, 19 },
                Package () { 0x0008FFFF, 0, 0, 16 },
                Package () { 0x0009FFFF, 0, 0, 17 },
                Package () { 0x000AFFFF, 0, 0, 18 },
                Package () { 0x000BFFFF, 0, 0, 19 },
                Package () { 0x000CFFFF, 0, 0, 16 },
                Package () { 0x000DFFFF, 0, 0, 17 },
                Package () { 0x000EFFFF, 0, 0, 18 },
                Package () { 0x000FFFFF, 0, 0, 19 },
                Package () { 0x0010FFFF, 0, 0, 16 },
                Package () { 0x0011FFFF, 0, 0, 17 },
                Package () { 0x0012FFFF, 0, 0, 18 },
                Package () { 0x0013FFFF, 0, 0, 19 },
                Package () { 0x0014FFFF, 0, 0, 16 },
                Package () { 0x0015FFFF, 0, 0, 17 },
                Package () { 0x0016FFFF, 0, 0, 18 },
                Package () { 0x0017FFFF, 0, 0, 19 },
                Package () { 0x0018FFFF, 0, 0, 16 },
                Package () { 0x0019FFFF, 0, 0, 17 },
                Package () { 0x001AFFFF, 0, 0, 18 },
                Package () { 0x001BFFFF, 0, 0, 19 },
                Package () { 0x001CFFFF, 0, 0, 16 },
                Package () { 0x001DFFFF, 0, 0, 17 },
                Package () { 0x001EFFFF, 0, 0, 18 },
                Package () { 0x001FFFFF, 0, 0, 19 }
            })
            Method (_PRT)
            {
                If (PICM) { Return (PRTA) }
                Return (PRTP)
            }
        }

        /* What no driver may claim: ECAM, PM registers, reset register. */
        Device (RSRV)
        {
            Name (_HID, EisaId ("PNP0C02"))
            Name (_UID, Zero)
            Name (_CRS, ResourceTemplate ()
            {
                Memory32Fixed (ReadWrite, 0xE0000000, 0x00100000)
                IO (Decode16, 0x0600, 0x0600, 1, 0x40)
                IO (Decode16, 0x0061, 0x0061, 1, 1)
                IO (Decode16, 0x04D0, 0x04D0, 1, 2)
            })
        }

        Device (RTC0)
        {
            Name (_HID, EisaId ("PNP0B00"))
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, 0x0070, 0x0070, 1, 2)
                IRQNoFlags () { 8 }
            })
        }

        Device (COM1)
        {
            Name (_HID, EisaId ("PNP0501"))
            Name (_UID, One)
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, 0x03F8, 0x03F8, 1, 8)
                IRQNoFlags () { 4 }
            })
        }
    }
}
